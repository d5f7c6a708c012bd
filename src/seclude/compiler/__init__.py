"""Decision → program. Names are loaded when first used: the run path takes only `compiler.artifact` and `compiler.cache` from here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.compiler.artifact import Artifact
    from seclude.compiler.build import Filter, compile, compile_decision  # noqa: A004 -- the word for it

__all__ = ["Artifact", "Filter", "compile", "compile_decision"]

_HOME = {"Artifact": "artifact", "Filter": "build", "compile": "build", "compile_decision": "build"}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(__import__(f"seclude.compiler.{_HOME[name]}", fromlist=[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
