"""Decide calls while they happen, and watch what a filter notifies and kills: handlers, the engines under them, and a record.

``from seclude.supervise import handler, Allow, Deny``. Lazy: `seclude run` imports the modules it needs by name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.supervise.call import Call, Gone, Unreadable
    from seclude.supervise.handlers import Handler, handler
    from seclude.supervise.notify_engine import NotifyEngine
    from seclude.supervise.router import Router
    from seclude.supervise.verdict import Allow, Deny, Emulate, Inject, Kill, Return, Rewrite, Skip, Verdict

__all__ = [
    "Allow",
    "Call",
    "Deny",
    "Emulate",
    "Gone",
    "Handler",
    "Inject",
    "Kill",
    "NotifyEngine",
    "Return",
    "Rewrite",
    "Router",
    "Skip",
    "Unreadable",
    "Verdict",
    "handler",
]

#: public name → the module it is in
_HOMES = {
    **dict.fromkeys(("Call", "Gone", "Unreadable"), "call"),
    **dict.fromkeys(("Handler", "handler"), "handlers"),
    "NotifyEngine": "notify_engine",
    "Router": "router",
    **dict.fromkeys(("Allow", "Deny", "Emulate", "Inject", "Kill", "Return", "Rewrite", "Skip", "Verdict"), "verdict"),
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'seclude.supervise' has no attribute {name!r}")
    value: object = getattr(__import__(f"seclude.supervise.{home}", fromlist=[name]), name)
    globals()[name] = value
    return value
