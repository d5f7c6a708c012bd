"""kernel/seccomp.c as an executable model: what would the kernel do? On any operating system, for Linux 5.0 to 6.18.

>>> from seclude.bpf import Program, codes
>>> from seclude.model import KernelModel
>>> from seclude.model import uapi
>>> kernel = KernelModel("6.18")
>>> task = kernel.process("editor")
>>> kernel.seccomp(task, codes.SECCOMP_SET_MODE_FILTER, 0, Program([(0x06, 0, 0, codes.SECCOMP_RET_ERRNO | 1)]))
<call 317 of 100: returned -EACCES>
>>> kernel.prctl(task, uapi.PR_SET_NO_NEW_PRIVS, 1).value
0
>>> kernel.seccomp(task, codes.SECCOMP_SET_MODE_FILTER, 0, Program([(0x06, 0, 0, codes.SECCOMP_RET_ERRNO | 1)])).value
0
>>> kernel.syscall(task, "getppid").value
-1

Every system call is a method of `KernelModel`; it returns a `SystemCall` that says what became of it: ``value`` (a result or a
negated errno), ``state``, ``signals``, ``log``, ``evaluations``. ``tests/model/test_worked_example.py`` is a longer example.

One file is one concept of the kernel, and functions have its names (`seclude.model.functions` lists them): ``task``, ``filter``,
``cache``, ``seccomp``, ``tsync``, ``entry``, ``notify``, ``listener``, ``ptrace``, ``signals``, ``log``; ``versions`` is what appeared when;
``invariants`` hold after every step; ``calls`` says how functions sleep.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.model.calls import SystemCall
    from seclude.model.kernel import KernelModel
    from seclude.model.questions import expect
    from seclude.model.scheduler import explore, sample
    from seclude.model.task import Task

#: public name → the module it lives in
_HOMES = {
    "KernelModel": "kernel",
    "SystemCall": "calls",
    "Task": "task",
    "expect": "questions",
    "explore": "scheduler",
    "sample": "scheduler",
}

__all__ = ["KernelModel", "SystemCall", "Task", "expect", "explore", "sample"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(f"seclude.model.{home}", fromlist=[name]), name)
    globals()[name] = value
    return value
