"""Read and judge any filter: reading files, annotated listings, traces of an emulation, and catching what programs install.

Functions return values; the commands print them. Every name is imported from its module when it is first used, since
``seclude asm`` needs nothing of what ``seclude dump`` does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from seclude.analysis.catch import Capture, Load, catch
    from seclude.analysis.emulate import Emulation, emulate
    from seclude.analysis.listing import annotated
    from seclude.analysis.live import Live, Thread, live
    from seclude.analysis.source import Source, assemble_source, read_source
    from seclude.analysis.summary import summary
    from seclude.analysis.write import FORMS, write
    from seclude.decision.asked import Call, read_call

#: public name → its module in this room, or elsewhere where it has a dot
_HOMES = {
    "Call": "seclude.decision.asked",
    "Capture": "catch",
    "Emulation": "emulate",
    "FORMS": "write",
    "Live": "live",
    "Load": "catch",
    "Source": "source",
    "Thread": "live",
    "annotated": "listing",
    "assemble_source": "source",
    "catch": "catch",
    "emulate": "emulate",
    "live": "live",
    "read_call": "seclude.decision.asked",
    "read_source": "source",
    "summary": "summary",
    "write": "write",
}

__all__ = [
    "FORMS",
    "Call",
    "Capture",
    "Emulation",
    "Live",
    "Load",
    "Source",
    "Thread",
    "annotated",
    "assemble_source",
    "catch",
    "emulate",
    "live",
    "read_call",
    "read_source",
    "summary",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(__import__(home if "." in home else f"seclude.analysis.{home}", fromlist=[name]), name)
