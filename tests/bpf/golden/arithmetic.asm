# Every instruction that seccomp takes, once.
.byteorder big
    A = args[0]
    mem[0] = A
    A = args[0] >> 32
    X = A
    mem[1] = X
    A = instruction_pointer
    A = instruction_pointer >> 32
    A = mem[0]
    X = mem[1]
    A += 1
    A -= 2
    A *= 3
    A /= 4
    A |= 5
    A &= 6
    A ^= 7
    A <<= 8
    A >>= 9
    A += X
    A -= X
    A *= X
    A |= X
    A &= X
    A ^= X
    A <<= X
    A >>= X
    A = -A
    A = len
    X = len
    A = X
    X = 5
    A /= X
    A = 0x1234
    if (A == X) goto one
    if (A != X) goto one
    if (A > X) goto one else goto two
    if (A >= X) goto one
    if (A & X) goto one
    if (A <= 3) goto one else goto next
    if (A < 3) goto two
    if (A > 3) goto next
    goto two
one:
    return A
two:
    return TRACE(3)
