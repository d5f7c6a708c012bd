"""A seccomp workbench for Python: say what a program may call, get a filter that means exactly that, run the program under it.

``seclude.run(["ls"], policy="readonly")`` runs a program, ``seclude.load("mine.seclude")`` reads a policy,
``seclude.compile(policy)`` makes a filter.

What is meant for use is listed in ``__all__``; each name is imported from its room when it is first used, so that
``import seclude`` costs next to nothing and a computation never loads what talks to the kernel.
"""

from __future__ import annotations

from seclude._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi import native
    from seclude.compiler import Filter, compile
    from seclude.errors import BudgetError, FilterError, InputError, InternalError, KernelError, PolicyError, SecludeError, UsageError
    from seclude.policy import PRESETS, Policy, load, parse
    from seclude.sandbox import run
    from seclude.sandbox.confined import ConfinedEnded, ConfinedError, ConfinedRaised, ConfinedTimeout, ConfinedViolation, confined
    from seclude.sandbox.install import install
    from seclude.sandbox.judge import Judge, judge
    from seclude.sandbox.judge_cases import Case
    from seclude.sandbox.judge_verdict import Judgement
    from seclude.sandbox.reporter import reporter
    from seclude.sandbox.result import Result
    from seclude.sandbox.strict import StrictError, StrictRaised, StrictTimeout, StrictViolation, strict

__all__ = [
    "PRESETS",
    "BudgetError",
    "Case",
    "ConfinedEnded",
    "ConfinedError",
    "ConfinedRaised",
    "ConfinedTimeout",
    "ConfinedViolation",
    "Filter",
    "FilterError",
    "InputError",
    "InternalError",
    "Judge",
    "Judgement",
    "KernelError",
    "Policy",
    "PolicyError",
    "Result",
    "SecludeError",
    "StrictError",
    "StrictRaised",
    "StrictTimeout",
    "StrictViolation",
    "UsageError",
    "__version__",
    "compile",
    "confined",
    "install",
    "judge",
    "load",
    "native",
    "parse",
    "reporter",
    "run",
    "strict",
]

#: public name → the module it is in. Functions that share their module's name (sandbox.strict.strict) need the full path:
#: once the module is imported, the room's attribute of that name is the module.
_HOMES = {
    "PRESETS": "policy",
    "BudgetError": "errors",
    "Case": "sandbox.judge_cases",
    "ConfinedEnded": "sandbox.confined",
    "ConfinedError": "sandbox.confined",
    "ConfinedRaised": "sandbox.confined",
    "ConfinedTimeout": "sandbox.confined",
    "ConfinedViolation": "sandbox.confined",
    "Filter": "compiler",
    "FilterError": "errors",
    "InputError": "errors",
    "InternalError": "errors",
    "Judge": "sandbox.judge",
    "Judgement": "sandbox.judge_verdict",
    "KernelError": "errors",
    "Policy": "policy",
    "PolicyError": "errors",
    "Result": "sandbox.result",
    "SecludeError": "errors",
    "StrictError": "sandbox.strict",
    "StrictRaised": "sandbox.strict",
    "StrictTimeout": "sandbox.strict",
    "StrictViolation": "sandbox.strict",
    "UsageError": "errors",
    "compile": "compiler",
    "confined": "sandbox.confined",
    "install": "sandbox.install",
    "judge": "sandbox.judge",
    "load": "policy",
    "native": "abi",
    "parse": "policy",
    "reporter": "sandbox.reporter",
    "run": "sandbox",
    "strict": "sandbox.strict",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'seclude' has no attribute {name!r}")
    value: object = getattr(__import__(f"seclude.{home}", fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
