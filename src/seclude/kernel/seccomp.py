"""seccomp(2): load a filter, enter strict mode, ask what the kernel has.

The order of the checks in `explain` is the order in which the kernel makes them (kernel/seccomp.c:
``seccomp_set_mode_filter``, ``seccomp_prepare_filter``, ``bpf_prog_create_from_user``, ``seccomp_attach_filter``), so an
errno that has several causes is narrowed to the first that fits.

What can still go wrong: a filter that is already there may itself answer seccomp(2), with any errno or death. An errno
that the kernel never gives here is said to come from such a filter.
"""

from __future__ import annotations

import ctypes
import errno as _errno

from seclude.errors import FilterError, KernelError
from seclude.kernel import prctl
from seclude.kernel.libc import errno_name, failed, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ACTIONS",
    "ALL_FLAGS",
    "FLAGS",
    "LOG",
    "NEW_LISTENER",
    "SET_MODE_FILTER",
    "SPEC_ALLOW",
    "TSYNC",
    "TSYNC_ESRCH",
    "WAIT_KILLABLE_RECV",
    "FilterArgument",
    "TsyncConflict",
    "action_available",
    "enter_strict",
    "explain",
    "flag_available",
    "flag_names",
    "install_filter",
    "load",
    "notification_sizes",
    "prepare",
]

# include/uapi/linux/seccomp.h
SET_MODE_STRICT, SET_MODE_FILTER, GET_ACTION_AVAIL, GET_NOTIF_SIZES = range(4)
TSYNC, LOG, SPEC_ALLOW, NEW_LISTENER, TSYNC_ESRCH, WAIT_KILLABLE_RECV = 1, 2, 4, 8, 16, 32
ALL_FLAGS = 0x3F

#: flag's name in the header → (value, the kernel that brought it)
FLAGS = {
    "TSYNC": (TSYNC, "3.17"),
    "LOG": (LOG, "4.14"),
    "SPEC_ALLOW": (SPEC_ALLOW, "4.17"),
    "NEW_LISTENER": (NEW_LISTENER, "5.0"),
    "TSYNC_ESRCH": (TSYNC_ESRCH, "5.7"),
    "WAIT_KILLABLE_RECV": (WAIT_KILLABLE_RECV, "5.19"),
}

#: action as a policy spells it → (SECCOMP_RET_ value, the kernel that brought it)
ACTIONS = {
    "kill_process": (0x80000000, "4.14"),
    "kill_thread": (0x00000000, "3.5"),
    "trap": (0x00030000, "3.5"),
    "errno": (0x00050000, "3.5"),
    "notify": (0x7FC00000, "5.0"),
    "trace": (0x7FF00000, "3.5"),
    "log": (0x7FFC0000, "4.14"),
    "allow": (0x7FFF0000, "3.5"),
}

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
INSTRUCTION_SIZE = 8  # struct sock_filter


class FilterArgument(ctypes.Structure):
    """``struct sock_fprog``: count and address. Keeps the instructions it points to alive (`prepare`)."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))
    held: Any = None


class TsyncConflict(KernelError):  # noqa: N818 - the name says what it is
    """A thread has a filter that the caller has not, so TSYNC installed nothing. ``thread`` is its id, 0 if unknown."""

    def __init__(self, message: str, remedy: str, thread: int) -> None:
        super().__init__(message, remedy, _errno.ESRCH)
        self.thread = thread


def prepare(program: bytes) -> FilterArgument:
    """The argument of seccomp(2) for ``program`` (``struct sock_filter`` after one another, in this machine's byte order).

    Raises `FilterError` for a length that the kernel would refuse (0, over 4096, or not whole instructions).
    """
    count, rest = divmod(len(program), INSTRUCTION_SIZE)
    if rest:
        raise FilterError(
            f"a filter of {len(program)} bytes: instructions are {INSTRUCTION_SIZE} bytes each, {rest} are left over",
            "give the program's raw bytes as the compiler wrote them",
        )
    if not 1 <= count <= MAX_INSTRUCTIONS:
        raise FilterError(f"a filter of {count} instructions: the kernel takes 1 to {MAX_INSTRUCTIONS}", "make the policy smaller")
    argument = FilterArgument()
    argument.held = ctypes.create_string_buffer(program, len(program))
    argument.len = count
    argument.filter = ctypes.addressof(argument.held)
    return argument


def load(argument: FilterArgument, flags: int = 0) -> int:
    """Install the filter and return what the kernel says: 0, a listener, a conflicting thread, or a negated errno.

    No allocation, no check and no message: this is what runs in a child that waits to become somebody else's program.
    """
    return syscall("seccomp", SET_MODE_FILTER, flags, ctypes.byref(argument))


def install_filter(program: bytes | FilterArgument, flags: int = 0) -> int:
    """Install ``program`` on the calling thread (all threads with TSYNC); the listener's descriptor with NEW_LISTENER, else 0.

    ``flags`` is an or of this module's constants. Irreversible. Needs no_new_privs (`prctl.set_no_new_privs`) or
    CAP_SYS_ADMIN. Raises `TsyncConflict` (nothing was installed anywhere), `KernelError` explaining the errno.
    """
    argument = program if isinstance(program, FilterArgument) else prepare(program)
    result = load(argument, flags)
    if result == -_errno.ENOSYS and flags == 0:
        # A kernel from before seccomp(2) (3.17): prctl(PR_SET_SECCOMP) is the same with flags 0.
        result = prctl.raw(prctl.PR_SET_SECCOMP, 2, ctypes.byref(argument))
    if result < 0:
        if result == -_errno.ESRCH and flags & TSYNC_ESRCH:
            raise _conflict(0)
        raise explain(-result, flags)
    if result > 0 and flags & TSYNC and not flags & (NEW_LISTENER | TSYNC_ESRCH):
        raise _conflict(result)
    return result


def enter_strict() -> None:
    """Put the calling thread into strict mode: from now on only read, write, exit and rt_sigreturn. Irreversible.

    It also disables the time stamp counter, so reading the clock through the vDSO is a SIGSEGV. Raises `KernelError`.
    """
    result = prctl.raw(prctl.PR_SET_SECCOMP, 1)
    if result < 0:
        raise failed(
            "prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)",
            -result,
            "a thread without a seccomp filter, on a kernel with CONFIG_SECCOMP",
            "strict mode cannot follow filter mode: run outside a container that filters system calls",
        )


def action_available(value: int) -> bool:
    """Whether the kernel knows this SECCOMP_RET_ action. Kernels before 4.14 cannot be asked: there, the 3.5 actions are known."""
    result = syscall("seccomp", GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(value)))
    if result == 0:
        return True
    if result in (-_errno.EINVAL, -_errno.ENOSYS):
        return any(value == known and since == "3.5" for known, since in ACTIONS.values())
    return False


def notification_sizes() -> tuple[int, int, int] | None:
    """Bytes of struct seccomp_notif, seccomp_notif_resp and seccomp_data, or None where there is no user notification."""
    sizes = (ctypes.c_uint16 * 3)()
    if syscall("seccomp", GET_NOTIF_SIZES, 0, sizes) < 0:
        return None
    return sizes[0], sizes[1], sizes[2]


def flag_available(flag: int) -> bool:
    """Whether the kernel knows a filter flag, asked harmlessly: flags are checked before the NULL program is read (EFAULT).

    EBUSY is what the supervisor of a listener around us answers for it: known, but taken.
    """
    flags = flag | (NEW_LISTENER if flag == WAIT_KILLABLE_RECV else 0)
    return syscall("seccomp", SET_MODE_FILTER, flags, None) in (-_errno.EFAULT, -_errno.EBUSY)


def flag_names(flags: int) -> list[str]:
    """The header's names of the flags set, without the ``SECCOMP_FILTER_FLAG_`` before them."""
    return [name for name, (value, _) in FLAGS.items() if flags & value]


def _conflict(thread: int) -> TsyncConflict:
    who = f"thread {thread}" if thread else "another thread"
    return TsyncConflict(
        f"seccomp: {who} of this process has a filter that the calling thread has not, so no thread got the new one",
        "install before other threads confine themselves, or confine this thread only (threads='this')",
        thread,
    )


def explain(errno: int, flags: int = 0) -> KernelError:
    """Why SECCOMP_SET_MODE_FILTER with ``flags`` gave ``errno``, in the order of the kernel's checks."""
    if errno == _errno.EINVAL:
        message, remedy = _invalid(flags)
    else:
        message, remedy = _REASONS.get(
            errno,
            (
                "an errno that seccomp(2) itself never gives here: a filter that is already installed answers for it",
                "run outside the container or service that set that filter, or have it allow seccomp(2)",
            ),
        )
    named = "|".join(flag_names(flags)) or "0"
    return KernelError(f"seccomp(SECCOMP_SET_MODE_FILTER, {named}): {errno_name(errno)}: {message}", remedy, errno)


def _invalid(flags: int) -> tuple[str, str]:
    unknown = flags & ~ALL_FLAGS
    if unknown:
        return f"the flags {unknown:#x} exist in no kernel known here", "use the flags of seclude.kernel.seccomp"
    for name, (value, since) in FLAGS.items():
        if flags & value and not flag_available(value):
            return f"this kernel does not know the flag {name} (Linux {since})", "do without the flag, or use a newer kernel"
    if flags & TSYNC and flags & NEW_LISTENER and not flags & TSYNC_ESRCH:
        return "TSYNC with NEW_LISTENER needs TSYNC_ESRCH: the result cannot be a thread and a descriptor", "add TSYNC_ESRCH"
    if flags & WAIT_KILLABLE_RECV and not flags & NEW_LISTENER:
        return "WAIT_KILLABLE_RECV is meaningless without NEW_LISTENER", "add NEW_LISTENER"
    if prctl.seccomp_mode() == 1:
        return "this thread is in strict mode already", "start from a thread without strict mode"
    return (
        "the kernel refused the program: an instruction that classic BPF or seccomp does not allow, or no RET at the end",
        "check it with seclude.bpf.check, which names the instruction",
    )


_REASONS = {
    _errno.EFAULT: ("the program's memory cannot be read", "this is a fault of the caller: keep the program alive"),
    _errno.EACCES: (
        "a filter needs no_new_privs or CAP_SYS_ADMIN in this user namespace",
        "call seclude.kernel.prctl.set_no_new_privs() first",
    ),
    _errno.EMFILE: ("no descriptor is free for the listener", "close some, or raise RLIMIT_NOFILE"),
    _errno.ENFILE: ("the system has no file left for the listener", "close some, or raise fs.file-max"),
    _errno.EBUSY: (
        "an earlier filter of this thread has a live listener, and the kernel allows one a thread",
        "close that listener (end its supervisor), or load without a listener (--no-report)",
    ),
    _errno.ENOMEM: (
        "the filters of this thread together exceed 32768 converted instructions, or memory is short",
        "stack fewer or smaller filters: a new process outside the sandbox starts from none",
    ),
    _errno.ENOSYS: ("this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)", "use a kernel that has them"),
    _errno.EPERM: (
        "a filter that is already installed refuses more filters (containers do)",
        "run outside it, or have its policy allow seccomp(2)",
    ),
    _errno.ESRCH: ("a thread could not be put under the filter", "install before other threads confine themselves"),
}
