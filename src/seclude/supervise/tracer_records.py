"""Structures that are shown as they are laid out: one line each, the fields in place of their values, as strace(1) spells them.

``$c`` in a line stands for a field of the kind ``c``, ``$c(form)`` for one that is not a plain number:

====  ==========================================================================================================
i, I  32 bits, signed or not; h, H 16; b, B 8; q, Q 64
l, L  a long of the caller
t     a word of a time: 32 bits where the caller has no other, unless the call is one for 64-bit times (``64``)
P     a pointer
====  ==========================================================================================================

Fields stand at multiples of their size, but that x86 aligns 64 bits to 4 (its psABI). Sources: include/uapi/linux (times.h, time_types.h, sem.h, capability.h,
sched/types.h, utime.h), asm-generic/statfs.h and signal.h, and the man pages of the calls.
"""

from __future__ import annotations

import struct

from seclude.supervise.tracer_memory import ELEMENTS, order_of, pointer, pointer_size, quoted_to
from seclude.supervise.tracer_structs import bits_of, clock_comment, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from seclude.abi import Architecture
    from seclude.supervise.tracer_memory import Args, Decode, Factory, View

__all__ = ["FACTORIES", "FORMS", "record", "scheduler"]

_LINES = """\
tms {tms_utime=$l, tms_stime=$l, tms_cutime=$l, tms_cstime=$l}
itimerspec {it_interval={tv_sec=$t, tv_nsec=$t}, it_value={tv_sec=$t, tv_nsec=$t}}
utimbuf {actime=$l(date), modtime=$l(date)}
altstack {ss_sp=$P(pointer), ss_flags=$I(altstack), ss_size=$L}
sembuf {sem_num=$H, sem_op=$h, sem_flg=$H(ipc)}
capheader {version=$I(capversion), pid=$i}
schedattr {size=$I, sched_policy=$I(scheduler), sched_flags=$Q(hex), sched_nice=$i, sched_priority=$I, sched_runtime=$Q, sched_deadline=$Q, sched_period=$Q}
statfs {f_type=$L(filesystem), f_bsize=$L, f_blocks=$L, f_bfree=$L, f_bavail=$L, f_files=$L, f_ffree=$L, f_fsid={val=[$I(hex), $I(hex)]}, f_namelen=$L, f_frsize=$L, f_flags=$L(mounted)}
statfs64 {f_type=$I(filesystem), f_bsize=$I, f_blocks=$Q, f_bfree=$Q, f_bavail=$Q, f_files=$Q, f_ffree=$Q, f_fsid={val=[$I(hex), $I(hex)]}, f_namelen=$I, f_frsize=$I, f_flags=$I(mounted)}
peer {pid=$i, uid=$I, gid=$I}
linger {l_onoff=$i, l_linger=$i}
notifysizes {seccomp_notif=$H, seccomp_notif_resp=$H, seccomp_data=$H}
program {len=$H, filter=$P(pointer)}
long [$L(hex)]
size [$L]
seconds [$l(date)]
"""

#: structures that other architectures than these have laid out differently (mips, s390, sparc, ...)
_COMMON = ("x86_64", "x32", "x86", "aarch64", "arm", "riscv64", "riscv32", "loongarch64")
_NARROWED = {"statfs", "statfs64", "altstack"}

# linux/magic.h
_FILESYSTEMS = {
    0x9FA0: "PROC_SUPER_MAGIC", 0x62656572: "SYSFS_MAGIC", 0x01021994: "TMPFS_MAGIC", 0xEF53: "EXT2_SUPER_MAGIC", 0x58465342: "XFS_SUPER_MAGIC",
    0x9123683E: "BTRFS_SUPER_MAGIC", 0x794C7630: "OVERLAYFS_SUPER_MAGIC", 0x6969: "NFS_SUPER_MAGIC", 0x27E0EB: "CGROUP_SUPER_MAGIC",
    0x63677270: "CGROUP2_SUPER_MAGIC", 0x1CD1: "DEVPTS_SUPER_MAGIC", 0x73717368: "SQUASHFS_MAGIC", 0x858458F6: "RAMFS_MAGIC",
    0x65735546: "FUSE_SUPER_MAGIC", 0x50495045: "PIPEFS_MAGIC", 0x534F434B: "SOCKFS_MAGIC", 0x64626720: "DEBUGFS_MAGIC", 0x74726163: "TRACEFS_MAGIC",
    0x73636673: "SECURITYFS_MAGIC", 0xCAFE4A11: "BPF_FS_MAGIC", 0x958458F6: "HUGETLBFS_MAGIC", 0x4D44: "MSDOS_SUPER_MAGIC", 0x01021997: "V9FS_MAGIC",
    0x6E736673: "NSFS_MAGIC", 0x9660: "ISOFS_SUPER_MAGIC", 0xF97CFF8C: "SELINUX_MAGIC", 0x09041934: "ANON_INODE_FS_MAGIC",
}  # fmt: skip
# linux/statfs.h; that the field is filled in at all comes first
_MOUNTED = ((0x20, "ST_VALID"), (1, "ST_RDONLY"), (2, "ST_NOSUID"), (4, "ST_NODEV"), (8, "ST_NOEXEC"), (0x10, "ST_SYNCHRONOUS"), (0x40, "ST_MANDLOCK"), (0x400, "ST_NOATIME"), (0x800, "ST_NODIRATIME"), (0x1000, "ST_RELATIME"), (0x2000, "ST_NOSYMFOLLOW"))  # fmt: skip
_ALTSTACK = ((1, "SS_ONSTACK"), (2, "SS_DISABLE"), (0x80000000, "SS_AUTODISARM"))
_IPC = ((0x800, "IPC_NOWAIT"), (0x1000, "SEM_UNDO"))
_SCHEDULERS = ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE", "SCHED_EXT")
_CAPABILITIES = {
    0x19980330: "_LINUX_CAPABILITY_VERSION_1",
    0x20071026: "_LINUX_CAPABILITY_VERSION_2",
    0x20080522: "_LINUX_CAPABILITY_VERSION_3",
}


def _hex(value: int) -> str:
    return hex(value) if value else "0"


def scheduler(value: int) -> str:
    """``SCHED_RR|SCHED_RESET_ON_FORK`` (linux/sched.h; 0 is SCHED_NORMAL there, and SCHED_OTHER for everybody else)."""
    low = value & ~0x40000000
    name = _SCHEDULERS[low] if low < len(_SCHEDULERS) else f"{low:#x}"
    return name + ("|SCHED_RESET_ON_FORK" if value & 0x40000000 else "")


def _date(value: int) -> str:
    return f"{value}{clock_comment(value)}"


FORMS: dict[str, Callable[[int], str]] = {
    "hex": _hex,
    "pointer": pointer,
    "date": _date,
    "altstack": lambda value: bits_of(value, _ALTSTACK),
    "ipc": lambda value: bits_of(value, _IPC),
    "capversion": lambda value: _CAPABILITIES.get(value) or hex(value),
    "scheduler": scheduler,
    "filesystem": lambda value: _FILESYSTEMS.get(value) or hex(value),
    "mounted": lambda value: bits_of(value, _MOUNTED),
}

_RECORDS = dict(line.split(" ", 1) for line in _LINES.splitlines())


class _Layout:
    """One structure as one architecture has it: its size, and how its bytes become text."""

    __slots__ = ("_forms", "_template", "form")

    def __init__(self, arch: Architecture, name: str, wide: str) -> None:
        narrow = arch.bits == 32 and arch.name != "x32"
        codes, at, largest = order_of(arch), 0, 1
        self._template, *fields = _RECORDS[name].split("$")
        self._forms: list[Callable[[int], str] | None] = []
        for field in fields:
            kind, rest, form = field[0], field[1:], ""
            if rest.startswith("("):
                form, _, rest = rest[1:].partition(")")
            code = {"l": "iq", "L": "IQ"}.get(kind, kind * 2)[not narrow]
            if kind == "t":
                code = "i" if narrow and not wide else "q"
            elif kind == "P":
                code = "I" if pointer_size(arch) == 4 else "Q"
            size = struct.calcsize("=" + code)
            step = min(size, 4) if arch.name == "x86" else size
            gap = -at % step
            codes += "x" * gap + code
            at, largest = at + gap + size, max(largest, step)
            self._forms.append(FORMS[form] if form else None)
            self._template += "%s" + rest
        self.form = struct.Struct(codes + "x" * (-at % largest))

    def text(self, raw: bytes) -> str:
        values = zip(self._forms, self.form.unpack(raw), strict=True)
        return self._template % tuple([value if form is None else form(value) for form, value in values])


def _layout(arch: Architecture, name: str, wide: str = "") -> _Layout | None:
    return None if name in _NARROWED and arch.name not in _COMMON else _Layout(arch, name, wide)


def record(arch: Architecture, name: str, wide: str = "") -> Decode:
    """One structure of the table."""
    layout = _layout(arch, name, wide)

    def show(view: View, address: int, _: Args) -> str | None:
        raw = None if layout is None else view.read(address, layout.form.size)
        return None if raw is None or layout is None else layout.text(raw)

    return show


def _records(arch: Architecture, count: str, name: str) -> Decode:
    """So many of them as the argument ``count`` says."""
    layout = _layout(arch, name)

    def show(view: View, address: int, args: Args) -> str | None:
        if layout is None:
            return None
        there = args[int(count)] & 0xFFFFFFFF
        some = min(there, ELEMENTS)
        size = layout.form.size
        raw = view.read(address, some * size) if some else b""
        if raw is None:
            return None
        shown = [layout.text(raw[at : at + size]) for at in range(0, len(raw), size)]
        return f"[{', '.join(shown)}{', ...' if there > some else ''}]"

    return show


def _groups(arch: Architecture, count: str, narrow: str = "") -> Decode:
    """Group ids; ``count``: the argument with their number, or R. ``narrow``: 16 bits each where the call is an old one of 32 bits."""
    code = "H" if narrow and arch.name in ("x86", "arm") else "I"
    size = struct.calcsize("=" + code)

    def show(view: View, address: int, args: Args) -> str | None:
        there = view.result if count == "R" else args[int(count)] & 0xFFFFFFFF
        if there > 65536:  # NGROUPS_MAX
            return None
        some = min(there, ELEMENTS)
        raw = view.read(address, some * size) if some else b""
        if raw is None:
            return None
        shown = ", ".join(str(value) for (value,) in struct.iter_unpack(order_of(arch) + code, raw))
        return f"[{shown}{', ...' if there > some else ''}]"

    return show


def _ids(arch: Architecture, narrow: str = "") -> Decode:
    """One user or group id."""
    form = struct.Struct(order_of(arch) + ("H" if narrow and arch.name in ("x86", "arm") else "I"))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        return None if raw is None else f"[{form.unpack(raw)[0]}]"

    return show


def _processors(arch: Architecture, size: str) -> Decode:
    """A mask of processors; ``size``: the argument that says how many bytes, or R."""

    def show(view: View, address: int, args: Args) -> str | None:
        length = view.result if size == "R" else args[int(size)] & 0xFFFFFFFF
        raw = view.read(address, min(length, 1024)) if length else b""
        if raw is None or (arch.byteorder != "little" and raw):
            return None
        bits = int.from_bytes(raw, "little")
        return f"[{' '.join(str(number) for number in range(len(raw) * 8) if bits >> number & 1)}]"

    return show


def _signal_information(arch: Architecture) -> Decode:
    """siginfo_t, of callers with the kernel's own layout."""
    if arch.bits != 64:
        return lambda _view, _address, _args: None

    def show(view: View, address: int, _: Args) -> str | None:
        from seclude.supervise.tracer_signals import information

        raw = view.read(address, 128)
        return None if raw is None else information(raw) if any(raw[:12]) else "{}"

    return show


def _signal_event(arch: Architecture) -> Decode:
    """Struct sigevent (asm-generic/siginfo.h): what a timer does when it is over."""
    form = struct.Struct(order_of(arch) + ("QiiI" if pointer_size(arch) == 8 else "IiiI"))
    kinds = {0: "SIGEV_SIGNAL", 1: "SIGEV_NONE", 2: "SIGEV_THREAD", 4: "SIGEV_THREAD_ID"}

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        value, number, kind, thread = form.unpack(raw)
        words = (
            [f"sigev_value={{sival_int={(value & 0xFFFFFFFF) - (value & 0x80000000) * 2}, sival_ptr={pointer(value)}}}"] if value else []
        )
        words += [f"sigev_signo={signal_name(arch, number)}", f"sigev_notify={kinds.get(kind) or hex(kind)}"]
        if kind == 4:
            words.append(f"sigev_notify_thread_id={thread}")
        return f"{{{', '.join(words)}}}"

    return show


def _capabilities(arch: Architecture, header: str) -> Decode:
    """Struct __user_cap_data_struct; ``header``: the argument whose version says whether there are two of them (capget(2))."""
    from seclude.abi.constants import family

    names = sorted((value, name) for name, value in family("CAP", arch).items())

    def words(value: int) -> str:
        found = [f"1<<{name}" for bit, name in names if value >> bit & 1]
        rest = value & ~sum(1 << bit for bit, _ in names)
        return "|".join([*found, *([hex(rest)] if rest else [])]) or "0"

    def show(view: View, address: int, args: Args) -> str | None:
        version = view.read(args[int(header)] & (1 << 8 * pointer_size(arch)) - 1, 4)
        twice = version is not None and struct.unpack(order_of(arch) + "I", version)[0] != 0x19980330
        raw = view.read(address, 24 if twice else 12)
        if raw is None:
            return None
        numbers = struct.unpack(order_of(arch) + ("6I" if twice else "3I"), raw)
        effective, permitted, inheritable = (numbers[at] | (numbers[at + 3] << 32 if twice else 0) for at in range(3))
        return f"{{effective={words(effective)}, permitted={words(permitted)}, inheritable={words(inheritable)}}}"

    return show


def _pages(_: Architecture, length: str) -> Decode:
    """mincore: a byte for each page of ``length`` bytes."""

    def show(view: View, address: int, args: Args) -> str | None:
        there = -(-args[int(length)] // 4096)
        raw = view.read(address, min(there, ELEMENTS))
        return None if raw is None else f"[{', '.join(str(one & 1) for one in raw)}{', ...' if there > ELEMENTS else ''}]"

    return show


def _offset(arch: Architecture, narrow: str = "") -> Decode:
    """A file offset that the kernel moves: ``[0]``, or ``[0] => [3]``."""
    form = struct.Struct(order_of(arch) + ("i" if narrow and arch.bits == 32 and arch.name != "x32" else "q"))

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        (now,) = form.unpack(raw)
        before = view.saved.pop((view.tid, address), now)
        return f"[{now}]" if before == now else f"[{before}] => [{now}]"

    return show


def _masked(arch: Architecture) -> Decode:
    """pselect6's last: a mask of signals behind a pointer, and its size."""
    from seclude.supervise.tracer_structs import signal_set

    form = struct.Struct(order_of(arch) + ("II" if pointer_size(arch) == 4 else "QQ"))
    order = "little" if arch.byteorder == "little" else "big"

    def show(view: View, address: int, _: Args) -> str | None:
        raw = view.read(address, form.size)
        if raw is None:
            return None
        where, size = form.unpack(raw)
        mask = view.read(where, size) if where and 0 < size <= 16 else None
        text = pointer(where) if mask is None else signal_set(arch, int.from_bytes(mask, order), size * 8)  # type: ignore[arg-type]
        return f"{{sigmask={text}, sigsetsize={size}}}"

    return show


def _mail(arch: Architecture, size: str) -> Decode:
    """Struct msgbuf: a type, and the text after it."""
    form = struct.Struct(order_of(arch) + ("i" if arch.bits == 32 and arch.name != "x32" else "q"))

    def show(view: View, address: int, args: Args) -> str | None:
        raw = view.read(address, form.size)
        length = view.result if size == "R" else args[int(size)] & 0xFFFFFFFF
        text = None if raw is None else quoted_to(view, address + form.size, length)
        return None if raw is None or text is None else f"{{mtype={form.unpack(raw)[0]}, mtext={text}}}"

    return show


FACTORIES: dict[str, Factory] = {
    "record": record,
    "records": _records,
    "groups": _groups,
    "id": _ids,
    "processors": _processors,
    "siginfo": _signal_information,
    "sigevent": _signal_event,
    "capabilities": _capabilities,
    "pages": _pages,
    "offset": _offset,
    "masked": _masked,
    "mail": _mail,
}
