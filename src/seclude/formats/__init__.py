"""Other people's languages for what programs may call. One module each, found through one registry.

``detect`` says which format a content is, by the content; ``read`` gives its meaning as a decision, exactly what its own runtime makes of it, or
raises and says where. A module here has ``NAME``, ``ABOUT``, ``detect(raw)`` and ``read(raw, name, ...)``, and is listed in `FORMATS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from seclude.errors import UsageError, nearest

if TYPE_CHECKING:
    from seclude.decision import Decision
    from seclude.errors import Diagnostic

__all__ = ["FORMATS", "Profile", "detect", "read"]

#: format → module of this package
FORMATS = {"oci": "OCI runtime-spec seccomp object, alone or inside a container's config.json"}


class Profile(NamedTuple):
    """Someone else's policy, read: which ``format``, from where, what it means, and what is worth knowing about how it was read."""

    format: str
    name: str
    decision: Decision
    byteorder: str
    notes: tuple[Diagnostic, ...] = ()


def _module(name: str) -> Any:
    if name not in FORMATS:
        guess = nearest(name, FORMATS)
        raise UsageError(f"no format {name!r}" + (f"; did you mean {guess!r}?" if guess else ""), f"formats: {', '.join(FORMATS)}")
    return __import__(f"seclude.formats.{name}", fromlist=["read"])


def detect(raw: bytes) -> str | None:
    """The format of a content, or None where it is none of `FORMATS`. Looks at the content only, and never raises."""
    return next((name for name in FORMATS if _module(name).detect(raw)), None)


def read(raw: bytes, name: str, *, format: str | None = None, **options: Any) -> Profile:
    """The meaning of a profile. ``format`` None: detected; ``options`` are the format's own.

    Raises `InputError` with the place of every fault, also where the meaning cannot be kept; `UsageError` for an unknown format.
    """
    found = format or detect(raw)
    if found is None:
        raise UsageError(f"{name}: none of the formats that are known", f"formats: {', '.join(FORMATS)}")
    profile: Profile = _module(found).read(raw, name, **options)
    return profile
