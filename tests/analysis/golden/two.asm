    A = arch
    if (A != ARCH_X86_64) goto other
    A = sys_number
    if (A >= 0x40000000) goto bad
    if (A == socket) goto sock
    if (A == read || A == pread64) goto fd else goto no
sock:
    A = args[0] >> 32
    A = args[0]
    if (A == AF_UNIX) goto ok
    A = args[1]
    A &= 0xf
    if (A == SOCK_STREAM) goto ok else goto no
fd:
    A = args[0]
    if (A > 2) goto no
ok: return ALLOW
no: return ERRNO(EPERM)
bad: return KILL_PROCESS
other:
    if (A == ARCH_AARCH64) goto arm else goto bad2
arm:
    A = sys_number
    if (A == lseek) goto seek else goto bad2
seek:
    A = args[1]
    if (A == 7) goto ok2
    A = args[1] >> 32
ok2: return LOG
bad2: return 0x12340000
