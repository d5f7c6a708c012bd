"""Run programs and functions under a policy, with limits, and say what happened.

Lazy: each public name is imported from its module when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.sandbox.library import run
    from seclude.sandbox.result import Result

__all__ = ["Result", "run"]

_HOMES = {"Result": "result", "run": "library"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'seclude.sandbox' has no attribute {name!r}")
    value: object = getattr(__import__(f"seclude.sandbox.{home}", fromlist=[name]), name)
    globals()[name] = value
    return value
