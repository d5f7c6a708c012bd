# Two architectures, names by the one in force, x32 refused.
    A = arch
    if (A == ARCH_X86_64) goto native
    if (A == ARCH_I386) goto compat
    return KILL_PROCESS
native:
    A = sys_number
    if (A >= 0x40000000) goto kill
    if (A == openat) goto opening
    A == socket ? sockets : next
    if (A == exit_group) goto ok else goto refuse
opening:
    A = args[2]
    if (!(A & O_WRONLY | O_RDWR)) goto ok
refuse:
    return ERRNO(EPERM)
sockets:
    A = args[0]
    if (A != AF_UNIX) goto refuse2
ok: return ALLOW
refuse2:
    return ERRNO(EAFNOSUPPORT)
compat:
    A = sys_number
    if (A == exit_group) goto fine
    if (A == amd64.socket) goto fine
    return ERRNO(ENOSYS)
fine:
    return ALLOW
kill:
    return KILL
