.arch x86_64
    A = arch
    if (A != ARCH_X86_64) goto bad
    A = sys_number
    A == read ? good : next
    if (A >= 0x40000000 || A == x32.write && X > 2) goto bad else goto +1
    A = args[1] >> 32
    mem[3] = A
    X = mem[3]
    A <<= X
    A = -A
    if (!(A & O_CREAT | O_EXCL)) goto good
    return ERRNO(EPERM)
good:
    return ALLOW
bad:
    A = 0x50001
    return A
