"""Terminals' settings as strace(1) spells them (termios(3), ioctl_tty(2), asm-generic/termbits.h)."""

from __future__ import annotations

import struct

from seclude.supervise.tracer_memory import order_of
from seclude.supervise.tracer_structs import bits_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi import Architecture
    from seclude.supervise.tracer_memory import Args, Decode, View

__all__ = ["settings"]

#: architectures whose bits are those of asm-generic/termbits.h
_COMMON = ("x86_64", "x32", "x86", "aarch64", "arm", "riscv64", "riscv32", "loongarch64", "s390x", "s390")


def _bits(text: str) -> tuple[tuple[int, str], ...]:
    words = text.split()
    return tuple((int(value, 16), name) for name, value in zip(words[::2], words[1::2], strict=True))


_INPUT = _bits(
    "IGNBRK 1 BRKINT 2 IGNPAR 4 PARMRK 8 INPCK 10 ISTRIP 20 INLCR 40 IGNCR 80 ICRNL 100 IUCLC 200 IXON 400 IXANY 800 IXOFF 1000 IMAXBEL 2000 IUTF8 4000"
)
_OUTPUT = _bits("OPOST 1 OLCUC 2 ONLCR 4 OCRNL 8 ONOCR 10 ONLRET 20 OFILL 40 OFDEL 80")
_CONTROL = _bits("CSTOPB 40 CREAD 80 PARENB 100 PARODD 200 HUPCL 400 CLOCAL 800 CMSPAR 40000000 CRTSCTS 80000000")
_LOCAL = _bits(
    "ISIG 1 ICANON 2 XCASE 4 ECHO 8 ECHOE 10 ECHOK 20 ECHONL 40 NOFLSH 80 TOSTOP 100 IEXTEN 8000 ECHOCTL 200 ECHOPRT 400 ECHOKE 800 FLUSHO 1000"
    " PENDIN 4000 EXTPROC 10000"
)
#: delays have a name also where they are none: name, lowest bit, how many bits
_DELAYS = (("NL", 0x100, 1), ("CR", 0x200, 2), ("TAB", 0x800, 2), ("BS", 0x2000, 1), ("VT", 0x4000, 1), ("FF", 0x8000, 1))
_SPEEDS = (
    ["B0", "B50", "B75", "B110", "B134", "B150", "B200", "B300", "B600", "B1200", "B1800", "B2400", "B4800", "B9600", "B19200", "B38400"],
    [
        "BOTHER",
        "B57600",
        "B115200",
        "B230400",
        "B460800",
        "B500000",
        "B576000",
        "B921600",
        "B1000000",
        "B1152000",
        "B1500000",
        "B2000000",
        "B2500000",
        "B3000000",
        "B3500000",
        "B4000000",
    ],
)


def settings(arch: Architecture) -> Decode:
    """Struct termios, without the characters."""
    form = struct.Struct(order_of(arch) + "4I")

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size) if arch.name in _COMMON else None
        if raw is None:
            return None
        given, shown, control, local = form.unpack(raw)
        delays = []
        for name, low, count in _DELAYS:
            mask = ((1 << count) - 1) * low
            delays.append(f"{name}{(shown & mask) // low}")
            shown &= ~mask
        speed, size = _SPEEDS[control >> 12 & 1][control & 0xF], f"CS{5 + (control >> 4 & 3)}"
        rest = control & ~0x103F
        words = (
            f"c_iflag={bits_of(given, _INPUT)}",
            f"c_oflag={'|'.join([*delays, *([bits_of(shown, _OUTPUT)] if shown else [])])}",
            f"c_cflag={'|'.join([speed, size, *([bits_of(rest, _CONTROL)] if rest else [])])}",
            f"c_lflag={bits_of(local, _LOCAL)}",
        )
        return f"{{{', '.join(words)}, ...}}"

    return show
