"""From a policy's name to filters: the front door of ``seclude run``.

Three ways, the cheapest first, each with the same result. A preset without extra rules comes compiled with the package; what
was compiled before comes from the cache; the rest is parsed, compiled and proven, and only then is any of that machinery
imported (it costs more than all the rest of a run).

A compiled preset counts only while the preset's text is still the one that it was compiled from, and a cached policy only
while every text it was made from, included files too, still reads the same.
"""

from __future__ import annotations

import os

from seclude._version import __version__
from seclude.compiler.artifact import Artifact
from seclude.errors import InputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.policy import Policy

__all__ = ["LINES", "prepare", "with_rules"]

#: kinds of ``rules`` that are no lines of the policy, but change the form in which it is loaded for a supervisor
FORMS = ("trace", "engine", "broker", "refuse")

#: kinds of ``rules`` that are lines of the policy, and the action that each stands for
LINES = {"allow": "allow", "deny": "errno(EPERM)", "notify": "notify"}
_SUFFIX = ".seclude"
_PACKAGE = os.path.dirname(os.path.dirname(__file__))
_TEXT_LIMIT = 4 << 20


def prepare(
    policy: str | os.PathLike[str] | Policy,
    *,
    rules: Iterable[tuple[str, str]] = (),
    cache: bool = True,
    native: str | None = None,
) -> Artifact:
    """The filters of a policy: a preset's name, a file (a path with a slash or ending in ``.seclude``), or a `Policy`.

    ``rules`` are tried before the policy's own, in order: ``("allow", RULE)`` or ``("deny", RULE)``, which denies with EPERM, or
    ``("notify", RULE)``, which leaves the call to handlers. Pairs that name a
    form change how the policy is loaded for a supervisor, not what it means: ``("trace", "openat,@network-io")`` lets the chosen calls, where they
    are allowed, stop for a tracer (`seclude.decision.traced`), ``("engine", "ptrace")`` lets calls with the action notify stop for a tracer too, as those with trace do. ``cache`` allows the
    compiled preset and the cache directory. ``native`` is the architecture that the policy's ``native`` means; this process's by default.

    Raises `UsageError`, `PolicyError`, `BudgetError`. A cache that cannot be used is no error: ``summary["cache"]`` says what happened.
    """
    from seclude import abi

    extra = tuple(map(_pair, rules))
    machine = abi.arch(native).name if native else abi.native().name
    if not isinstance(policy, (str, os.PathLike)):
        if not hasattr(type(policy), "effective"):
            raise UsageError(f"{policy!r} is no policy", "give a preset's name, a file, or what seclude.parse or seclude.load made")
        return _said(_compile(policy, policy.file, machine, extra), "off: a policy made in Python")
    name = os.fspath(policy)
    if not cache:
        return _said(_compile(name, name, machine, extra), "off")
    preset = not _is_file(name) and _read(_preset(name)) is not None
    if preset and not extra:
        shipped = _shipped(name, machine)
        if shipped is not None:
            return _said(shipped, "shipped with the package")
    return _cached(name, preset, machine, extra)


def _pair(rule: object) -> tuple[str, str]:
    match rule:
        case [str(kind), str(text)] if kind in LINES or kind in FORMS:
            return kind, text
    raise UsageError(f"rules: {rule!r} is no rule to try first", "give pairs of 'allow', 'deny' or 'notify' and a rule: ('allow', 'mkdir')")


def _said(artifact: Artifact, what: str) -> Artifact:
    artifact.summary["cache"] = what
    return artifact


def _is_file(name: str) -> bool:
    return "/" in name or name.endswith(_SUFFIX)


def _preset(name: str) -> str:
    return os.path.join(_PACKAGE, "policy", "presets", name + _SUFFIX)


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        if os.fstat(fd).st_mode & 0o170000 != 0o100000:  # a pipe can be read once only: that is for the parser to do
            return None
        raw = b""
        while len(raw) <= _TEXT_LIMIT and (piece := os.read(fd, 1 << 20)):
            raw += piece
        return raw
    except OSError:
        return None
    finally:
        os.close(fd)


def _shipped(name: str, machine: str) -> Artifact | None:
    raw = _read(os.path.join(_PACKAGE, "compiler", "presets", f"{name}.{machine}"))
    if raw is None:
        return None
    try:
        artifact = Artifact.from_bytes(raw)
    except InputError:
        return None
    from seclude.abi import TABLES

    made_with = (artifact.summary.get("version"), artifact.summary.get("tables"), artifact.name, artifact.native)
    if made_with != (__version__, TABLES, name, machine) or not _unchanged(artifact.sources):
        return None
    return artifact


def _unchanged(sources: Iterable[tuple[str, str]]) -> bool:
    """Whether each text still reads the same, as a file or as a preset, and as neither of them differently."""
    for file, text in sources:
        here = [_read(file)]
        if "/" not in file:
            here.append(_read(os.path.join(_PACKAGE, "policy", "presets", file)))
        found = [raw for raw in here if raw is not None]
        if not found or any(raw != text.encode() for raw in found):
            return False
    return True


def _cached(name: str, preset: bool, machine: str, extra: tuple[tuple[str, str], ...]) -> Artifact:
    text = _read(_preset(name) if preset else name)
    if text is None or len(text) > _TEXT_LIMIT:
        return _said(_compile(name, name, machine, extra), "off: the policy cannot be read twice")
    from seclude.abi import TABLES
    from seclude.compiler.cache import Cache, digest

    fields = ["policy 2", __version__, TABLES, machine, "preset" if preset else "file", name, *(word for rule in extra for word in rule)]
    key = digest([os.fsencode(field) for field in fields] + [text])
    with Cache() as store:
        if store.refused:
            return _said(_compile(name, name, machine, extra), f"off: {store.refused}")
        found = store.get(key)
        # The main text is part of the key, and the lines of ``rules`` are too; what remains are the included ones.
        lines = sum(kind not in FORMS for kind, _ in extra)
        if found is not None and _unchanged(found.sources[1 : len(found.sources) - lines]):
            return _said(found, "hit")
        artifact = _compile(name, name, machine, extra)
        if artifact.sources[0][1].encode() != text:
            return _said(artifact, "off: the policy changed while it was read")
        return _said(artifact, "stored" if store.put(key, artifact) else "off: the cache cannot be written")


def with_rules(policy: Policy, rules: Iterable[tuple[str, str]]) -> Policy:
    """``policy`` with the lines that ``rules`` stand for before its own. Raises `PolicyError`."""
    from seclude.policy import prepend

    lines = [(LINES[kind], rule, f"--{kind}") for kind, rule in rules]
    return prepend(policy, lines) if lines else policy


def _compile(policy: str | Policy, name: str, machine: str, extra: tuple[tuple[str, str], ...]) -> Artifact:
    from seclude.compiler.pack import pack
    from seclude.policy import load

    read = load(policy, native=machine) if isinstance(policy, str) else policy
    lines = tuple(pair for pair in extra if pair[0] not in FORMS)
    read = with_rules(read, lines)
    return pack(read, name, read.native or machine, lines, [pair for pair in extra if pair[0] in FORMS])
