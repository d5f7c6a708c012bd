# What has no sentence keeps its bytes.
    .insn 0x07, 1, 2, 3
    .insn 0x16, 0, 0, 9
    .insn 0x0c, 0, 0, 1
    return 0x00040005
    return KILL_PROCESS(1)
    return ALLOW(2)
    return ERRNO(5000)
    return LOG
