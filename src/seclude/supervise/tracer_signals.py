"""What a signal carries, as strace(1) shows it: ``SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7, ...}`` (sigaction(2), siginfo_t)."""

from __future__ import annotations

import struct

from seclude.supervise.tracer_memory import pointer
from seclude.supervise.tracer_structs import signal_name

__all__ = ["information", "signal_text"]

_GENERAL = {
    0: "SI_USER",
    0x80: "SI_KERNEL",
    -1: "SI_QUEUE",
    -2: "SI_TIMER",
    -3: "SI_MESGQ",
    -4: "SI_ASYNCIO",
    -5: "SI_SIGIO",
    -6: "SI_TKILL",
}
# asm-generic/siginfo.h; signals are the native ones of the architectures that are traced
_CODES = {
    "SIGCHLD": ("CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"),
    "SIGSEGV": ("SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"),
    "SIGBUS": ("BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"),
    "SIGFPE": ("FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES", "FPE_FLTINV", "FPE_FLTSUB"),
    "SIGILL": ("ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG", "ILL_COPROC", "ILL_BADSTK"),
    "SIGTRAP": ("TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"),
    "SIGSYS": ("SYS_SECCOMP", "SYS_USER_DISPATCH"),
}
_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP")


def signal_text(signal: int, info: bytes) -> str:
    """The signal's name and what its siginfo_t (128 bytes, 64-bit layout) says."""
    from seclude.abi import native

    return f"{signal_name(native(), signal)} {information(info, signal)}"


def information(info: bytes, signal: int = 0) -> str:
    """A siginfo_t, of the signal that it names itself unless another is told: ``{si_signo=SIGTERM, si_code=SI_USER, ...}``."""
    from seclude.abi import by_token, native

    here = native()
    number, _, code = struct.unpack_from("=iii", info)
    name = signal_name(here, signal or number)
    codes = _CODES.get(name, ())
    word = _GENERAL.get(code) or (codes[code - 1] if 0 < code <= len(codes) else str(code))
    fields = [f"si_signo={signal_name(here, number)}", f"si_code={word}"]
    wide = here.bits == 64
    at = 16 if wide else 12
    if name == "SIGCHLD" and code > 0:
        pid, uid, status = struct.unpack_from("=iIi", info, at)
        user, system = struct.unpack_from("=qq" if wide else "=ii", info, 32 if wide else 24)
        shown = str(status) if code == 1 else signal_name(here, status)
        fields += [f"si_pid={pid}", f"si_uid={uid}", f"si_status={shown}", f"si_utime={user}", f"si_stime={system}"]
    elif name == "SIGSYS" and code == 1:
        address, call, token = struct.unpack_from("=QiI" if wide else "=IiI", info, at)
        owner = by_token(token)
        called = owner[0].call_name(call) if owner else None
        shown = f"__NR_{called}" if called else str(call)
        of = f"AUDIT_ARCH_{owner[0].token_name.removeprefix('AUDIT_ARCH_')}" if owner else hex(token)
        fields += [f"si_call_addr={pointer(address)}", f"si_syscall={shown}", f"si_arch={of}"]
    elif name in _FAULTS and code > 0 and code != 0x80:
        (address,) = struct.unpack_from("=Q" if wide else "=I", info, at)
        fields.append(f"si_addr={pointer(address)}")
    elif code == -2:
        timer, overrun, value = struct.unpack_from("=iiq" if wide else "=iii", info, at)
        fields += [f"si_timerid={timer}", f"si_overrun={overrun}", f"si_int={value & 0xFFFFFFFF}, si_ptr={pointer(value & (1 << 64) - 1)}"]
    elif code <= 0:
        pid, uid = struct.unpack_from("=iI", info, at)
        fields += [f"si_pid={pid}", f"si_uid={uid}"]
        if code in (-1, -3):
            (value,) = struct.unpack_from("=Q" if wide else "=I", info, 24 if wide else 20)
            fields += [f"si_int={struct.unpack('=i', struct.pack('=I', value & 0xFFFFFFFF))[0]}", f"si_ptr={pointer(value)}"]
    return f"{{{', '.join(fields)}}}"
