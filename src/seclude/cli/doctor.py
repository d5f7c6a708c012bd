"""``seclude doctor``: what this kernel and this user can do, and what to do about gaps.

Every question to the system goes through one `Probe`, which a test replaces by one that answers like another kernel. Probes are harmless: flags are
asked about with a NULL program, cgroups are made empty and removed, and the one filter that is loaded is loaded in a child.
"""

from __future__ import annotations

import os
import sys

from seclude.cli.options import Arguments, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMMAND", "Probe", "Row", "examine", "main"]

COMMAND = Command(
    "doctor",
    "doctor [--json]",
    "Show what this kernel and this user can do for confinement, and what to do about what is missing.",
    (Option("--json", "", "print a JSON object: {ready, rows: [{feature, state, detail, remedy}]}"),),
    epilog="""
states:
  ok        works
  limited   works in part, or with a substitute that 'seclude run' names when it takes it
  missing   not there

Exit code 0 if 'seclude run' can report denials here, 1 if it can only load plain filters (or none); 125 is a usage error.
""",
)


class Row:
    """One line: a ``feature``, its ``state`` (ok, limited, missing), what was found, and what to do ("" if nothing)."""

    __slots__ = ("detail", "feature", "remedy", "state")

    def __init__(self, feature: str, state: str, detail: str, remedy: str = "") -> None:
        self.feature = feature
        self.state = state
        self.detail = detail
        self.remedy = remedy


class Probe:
    """The system, as far as `examine` asks. Each method answers one question; none raises for what is missing."""

    def release(self) -> str:
        return os.uname().release

    def machine(self) -> str:
        from seclude import abi

        return abi.native().name

    def seccomp_state(self) -> tuple[int | None, int | None, bool | None]:
        """Mode, number of filters and no_new_privs of this process."""
        from seclude.kernel import proc

        status = proc.status()
        return (None, None, None) if status is None else (status.seccomp, status.filters, status.no_new_privs)

    def action(self, value: int) -> bool:
        from seclude.kernel import seccomp

        return seccomp.action_available(value)

    def flag(self, value: int) -> bool:
        from seclude.kernel import seccomp

        return seccomp.flag_available(value)

    def sizes(self) -> tuple[int, int, int] | None:
        from seclude.kernel import seccomp

        return seccomp.notification_sizes()

    def load(self, strict: bool) -> str:
        """Confine a child, by a filter that allows everything (with a listener) or strictly; "" if that worked, else why not."""
        return _load_in_child(strict=strict)

    def sysctl(self, name: str) -> str | None:
        from seclude.kernel import proc

        return proc.sysctl(name)

    def landlock(self) -> int:
        from seclude.kernel import landlock

        return landlock.abi_version()

    def cgroups(self) -> dict[str, str]:
        from seclude.kernel import cgroup

        return cgroup.available()

    def trace_child(self) -> str:
        """Seize a child of ours; "" if that worked, else the errno's name."""
        return _seize_child()

    def uid(self) -> int:
        return os.geteuid()

    def capability(self, number: int) -> bool:
        from seclude.kernel import capabilities

        return capabilities.has(number)

    def compatible(self) -> str | None:
        """Whether 32-bit programs can be executed: "yes" or "no"; None where there is no 32-bit companion."""
        return _run_32_bit()

    def python_threads(self) -> bool:
        """Whether this Python is one in which strict mode for functions works (glibc, not free-threaded)."""
        import ctypes

        return hasattr(ctypes.CDLL(None), "mallopt") and "t" not in sys.abiflags

    def audit(self) -> bool:
        return os.path.exists("/proc/self/loginuid")


def main(arguments: Arguments, probe: Probe | None = None) -> int:
    """Print the table, or JSON; 0 if `seclude run` can report, else 1."""
    from seclude.errors import UsageError

    if arguments.rest:
        raise UsageError(f"seclude doctor: takes no arguments, but {arguments.rest[0]!r} was given", "see: seclude doctor --help")
    rows = list(examine(probe or Probe()))
    ready = _ready(rows)
    if arguments.flag("json"):
        import json

        shown = [{"feature": r.feature, "state": r.state, "detail": r.detail, "remedy": r.remedy} for r in rows]
        sys.stdout.write(json.dumps({"ready": ready, "rows": shown}, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_table(rows))
        verdict = (
            "'seclude run' can report every denial here." if ready else "'seclude run' cannot report denials here: see the rows above."
        )
        sys.stdout.write(f"\n{verdict}\n")
    return 0 if ready else 1


#: without these there is no report: they are what `_ready` looks at
REPORTING = ("filter", "action notify", "flag NEW_LISTENER", "flag WAIT_KILLABLE_RECV", "notification sizes", "load a filter")


def _ready(rows: list[Row]) -> bool:
    state = {row.feature: row.state for row in rows}
    return all(state.get(feature) == "ok" for feature in REPORTING)


def examine(probe: Probe) -> Iterator[Row]:
    """Every row, in the order shown."""
    yield from _kernel(probe)
    yield from _seccomp(probe)
    yield from _supervision(probe)
    yield from _surroundings(probe)


def _version(release: str) -> tuple[int, int]:
    words = release.split("-", maxsplit=1)[0].split(".")
    numbers = [int(word) if word.isdigit() else 0 for word in (*words, "0")[:2]]
    return numbers[0], numbers[1]


def _kernel(probe: Probe) -> Iterator[Row]:
    release = probe.release()
    old = _version(release) < (5, 19)
    yield Row("kernel", "limited" if old else "ok", f"Linux {release}", "reporting needs Linux 5.19" if old else "")
    yield Row("architecture", "ok", probe.machine())
    answer = probe.compatible()
    if answer is not None:
        yes = answer == "yes"
        yield Row(
            "32-bit programs",
            "ok" if yes else "limited",
            "this kernel executes them"
            if yes
            else "this kernel does not execute them (CONFIG_IA32_EMULATION or its like, ia32_emulation=)",
            "" if yes else "nothing to do, unless 32-bit programs are to run",
        )
    mode, filters, no_new_privs = probe.seccomp_state()
    if mode is None:
        yield Row("own state", "limited", "/proc does not tell whether this process is filtered", "mount /proc, with CONFIG_SECCOMP")
    elif mode == 0:
        yield Row("own state", "ok", "not filtered" + (", no_new_privs" if no_new_privs else ""))
    else:
        count = "some" if filters is None else str(filters)
        yield Row(
            "own state",
            "limited",
            f"this process is under {count} filter(s) already (a container or service): they apply to every run as well",
            "a call that these deny is denied whatever the policy says; run outside to be rid of them",
        )


def _seccomp(probe: Probe) -> Iterator[Row]:
    from seclude.kernel import seccomp

    has_filter = probe.flag(seccomp.TSYNC) or not probe.load(strict=False)
    yield Row(
        "filter",
        "ok" if has_filter else "missing",
        "SECCOMP_MODE_FILTER" if has_filter else "seccomp(2) has no filter mode",
        "" if has_filter else "use a kernel with CONFIG_SECCOMP_FILTER, and a container that allows seccomp(2)",
    )
    why = probe.load(strict=True)
    yield Row(
        "strict mode", "missing" if why else "ok", why or "SECCOMP_MODE_STRICT", "run outside the filter that is in force" if why else ""
    )
    fits = probe.python_threads()
    yield Row(
        "seclude.strict",
        "ok" if fits and not why else "missing",
        "functions can run in strict mode"
        if fits and not why
        else "there is no strict mode here"
        if fits
        else "needs glibc's mallopt and a Python with the interpreter lock",
        "" if fits and not why else "see the row above" if fits else "use an ordinary build of Python on a system with glibc",
    )
    for name, (value, since) in seccomp.ACTIONS.items():
        there = probe.action(value)
        substitute = {"log": "allow", "notify": "errno(ENOSYS)", "trace": "errno(ENOSYS)"}.get(name, "trap")
        yield Row(
            f"action {name}",
            "ok" if there else "missing",
            "available" if there else f"unknown to this kernel (Linux {since})",
            "" if there else f"policies that use it need a substitute: --allow-weaker {name}={substitute}",
        )
    for name, (value, since) in seccomp.FLAGS.items():
        there = probe.flag(value)
        yield Row(f"flag {name}", "ok" if there else "missing", _FLAG_MEANING[name], "" if there else f"needs Linux {since}")
    version = _version(probe.release())
    cached = version >= (5, 11)
    yield Row(
        "constant-allow cache",
        "ok" if cached else "missing",
        "plain allows cost one bit test (Linux 5.11)" if cached else "every call runs the filter",
        "" if cached else "nothing breaks; Linux 5.11 makes allowed calls cheaper",
    )


_FLAG_MEANING = {
    "TSYNC": "all threads of a process at once (Policy.install)",
    "LOG": "denials to the kernel log (log=True)",
    "SPEC_ALLOW": "leave speculative store bypass on",
    "NEW_LISTENER": "denials reach a supervisor",
    "TSYNC_ESRCH": "a listener for all threads at once",
    "WAIT_KILLABLE_RECV": "a timer cannot starve a denied call of its answer",
}


def _supervision(probe: Probe) -> Iterator[Row]:
    sizes = probe.sizes()
    fits = sizes is not None and sizes[0] >= 80 and sizes[1] >= 24 and sizes[2] >= 64
    yield Row(
        "notification sizes",
        "ok" if fits else "missing",
        f"notification {sizes[0]}, response {sizes[1]}, data {sizes[2]} bytes" if sizes else "no user notification",
        "" if fits else "needs Linux 5.0; --no-report works without",
    )
    why = probe.load(strict=False)
    yield Row(
        "load a filter",
        "missing" if why else "ok",
        why or "with a listener, under no_new_privs",
        "an outer filter or an existing listener is in the way: see the row 'own state'" if why else "",
    )
    version = _version(probe.release())
    wakes = version >= (6, 6)
    yield Row(
        "synchronous wake-up",
        "ok" if wakes else "limited",
        "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP" if wakes else "needs Linux 6.6",
        "" if wakes else "denials are answered, more slowly",
    )
    scope = probe.sysctl("kernel.yama.ptrace_scope")
    failed = probe.trace_child()
    said = {
        None: "no Yama",
        "0": "Yama 0: same user",
        "1": "Yama 1: descendants only",
        "2": "Yama 2: needs CAP_SYS_PTRACE",
        "3": "Yama 3: nobody",
    }
    yield Row(
        "ptrace",
        "limited" if failed else "ok",
        said.get(scope, f"Yama {scope}") + (f"; a child cannot be watched: {failed}" if failed else "; children can be watched"),
        "kills are reported from the wait status alone (--no-ptrace); lower kernel.yama.ptrace_scope, or leave the debugger"
        if failed
        else "",
    )
    abi = probe.landlock()
    yield Row(
        "landlock",
        "ok" if abi >= 6 else "limited" if abi else "missing",
        f"ABI {abi}: signals and abstract sockets are scoped{_of_files(abi)}"
        if abi >= 6
        else f"ABI {abi}{_of_files(abi)}"
        if abi
        else "not available",
        ""
        if abi >= 6
        else "a target of the same user can signal Seclude and reach abstract sockets, and cannot mount: Linux 6.12 scopes both (ABI 6)"
        if abi
        else "Seclude makes itself non-dumpable instead, and a target of the same user can signal it: add landlock to lsm=, or use another user",
    )


def _of_files(abi: int) -> str:
    """What Landlock can say about files, for --read and --write."""
    from seclude.kernel import landlock

    lacking = [name for bit, name in enumerate(landlock.ACCESS_FS) if not landlock.access_fs(abi) >> bit & 1]
    return f"; files are held to --read and --write, but not {', '.join(lacking)}" if lacking else "; files are held to --read and --write"


def _surroundings(probe: Probe) -> Iterator[Row]:
    from seclude.kernel import capabilities

    words = {
        "memory": ("--memory bounds the whole tree", "--memory bounds the address space of each process (RLIMIT_AS)"),
        "pids": ("--processes bounds the tree", "--processes counts all tasks of the user (RLIMIT_NPROC), and is refused for root"),
        "cpu": ("--cpu counts the whole tree", "--cpu counts each process, and the tree as far as /proc shows it"),
        "kill": ("a tree is ended in one step", "a tree is ended by other means"),
    }
    cgroups = probe.cgroups()
    for name, (good, else_) in words.items():
        why = cgroups.get(name, "")
        yield Row(f"cgroup {name}", "limited" if why else "ok", else_ if why else good, why)
    uid = probe.uid()
    held = [
        name
        for name, number in (("CAP_SYS_ADMIN", capabilities.CAP_SYS_ADMIN), ("CAP_SYS_PTRACE", capabilities.CAP_SYS_PTRACE))
        if probe.capability(number)
    ]
    yield Row(
        "user",
        "limited" if uid == 0 else "ok",
        f"uid {uid}" + (", with " + ", ".join(held) if held else ", no special capability"),
        "a target that is root owns what root owns: prefer an unprivileged user" if uid == 0 else "",
    )
    logged = probe.sysctl("kernel.seccomp.actions_logged")
    yield Row(
        "actions_logged",
        "ok" if logged else "limited",
        logged or "not there (Linux 4.14), or empty: nothing is logged",
        "" if logged else "nothing, unless you use the log action: sysctl kernel.seccomp.actions_logged",
    )
    audit = probe.audit()
    yield Row(
        "audit",
        "ok" if audit else "limited",
        "logged calls go to the audit log" if audit else "no audit in this kernel: the log action leaves no trace",
        "" if audit else "reports of 'seclude run' do not need it",
    )


def _table(rows: list[Row]) -> str:
    left = max(len(row.feature) for row in rows)
    lines = [f"{'feature':{left}}  {'state':7}  what it means, and → what to do"]
    for row in rows:
        lines.append(f"{row.feature:{left}}  {row.state:7}  {row.detail}")
        if row.remedy:
            lines.append(f"{'':{left}}  {'':7}  → {row.remedy}")
    return "\n".join(lines) + "\n"


# --- probes that need a child ----------------------------------------------------------------------------------------


def _in_child(action: str) -> bytes:
    """What ``action`` printed, run by a fresh interpreter: this one may have threads, and must not end up under a filter."""
    import subprocess

    from seclude.sandbox import helper

    words = [sys.executable, "-I", "-S", *helper.code("seclude.cli.doctor", action)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot run {sys.executable}: {error}".encode()
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}".encode()
    return done.stdout if done.returncode == 0 else b"it failed: " + done.stderr[-200:]


def _load_in_child(*, strict: bool) -> str:
    return _in_child("_try_strict" if strict else "_try_filter").decode(errors="replace").strip()


def _try_filter() -> None:
    import struct

    from seclude.errors import KernelError
    from seclude.kernel import prctl, seccomp

    try:
        prctl.set_no_new_privs()
        seccomp.install_filter(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000), seccomp.NEW_LISTENER)
    except KernelError as error:
        os.write(1, error.diagnostics[0].message.encode())
    os._exit(0)


def _try_strict() -> None:
    import ctypes

    from seclude.errors import KernelError
    from seclude.kernel import libc, seccomp

    leave, number, zero = libc.libc.syscall, ctypes.c_long(libc.number("exit")), ctypes.c_long(0)
    try:
        seccomp.enter_strict()
    except KernelError as error:
        os.write(1, error.diagnostics[0].message.encode())
        os._exit(0)
    leave(number, zero)


def _seize_child() -> str:
    """Watch a child that waits on a pipe; "" or why not."""
    import subprocess

    from seclude.kernel import ptrace
    from seclude.kernel.libc import errno_name

    child = None
    try:
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        ptrace.seize(child.pid, 1 << 20)  # EXITKILL alone: no stops
    except OSError as error:
        return errno_name(error.errno or 0)
    finally:
        if child is not None:
            child.communicate(b"\n")
    return ""


def _run_32_bit() -> str | None:
    """Execute the smallest ELF of the 32-bit companion that can say it ran: exit(42), written for i386; for others, ask the kernel's files."""
    from seclude import abi

    native = abi.native()
    if native.name == "x86_64":
        return "yes" if _run_i386() else "no"
    if not abi.companions(native):
        return None
    # /proc/sys/abi exists on arm64 with 32-bit support; elsewhere there is no cheap answer.
    return "yes" if os.path.exists("/proc/sys/abi/cp15_barrier") else "no"


def _run_i386() -> bool:
    import struct
    import subprocess

    code = bytes.fromhex("31c040b32acd80")  # xor eax, eax; inc eax; mov bl, 42; int 0x80
    base, size = 0x08048000, 52 + 32
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + size, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, 0, base, base, size + len(code), size + len(code), 5, 0x1000)
    try:
        descriptor = os.memfd_create("seclude-doctor", 0)
    except OSError:
        return False
    try:
        os.write(descriptor, header + segment + code)
        done = subprocess.run([f"/proc/self/fd/{descriptor}"], pass_fds=(descriptor,), check=False)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return done.returncode == 42
