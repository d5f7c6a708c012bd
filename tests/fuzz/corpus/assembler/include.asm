include "twice"
include "thrice"
.byteorder big
jmp 1
.insn 0x15, 1, 255, 0xffffffff
A = len
return TRACE(65535)
