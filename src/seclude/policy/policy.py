"""`Policy`: the rules, the header lines, and the architectures they are for; checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from seclude.errors import Diagnostic, PolicyError, UsageError
from seclude.policy.nodes import HEADER_ACTIONS, Action, Header, Include, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from seclude.abi import Architecture
    from seclude.errors import Span

__all__ = ["Policy", "build", "flatten", "header_place"]

HEADER_WORDS = ("default", "arch", *HEADER_ACTIONS[1:], "tables")


@dataclass(frozen=True, slots=True, init=False)
class Policy:
    """What programs may call. Frozen, compared by meaning as written; ``str(policy)`` is its text.

    Arguments are the header lines and the rules. An action is an `Action` or its text; ``arch`` names architectures,
    ``"native"`` and ``"compat"`` (alone: native); ``rules`` are what `allow`, `kill`, `errno`... and `include` make. ``native``
    is the architecture that ``"native"`` stands for, this process's if not given.

    Raises `PolicyError` with every fault found. What is not a fault but worth knowing is in ``notes``.
    """

    items: tuple[Rule | Include, ...]
    header: Header
    #: the architecture that ``native`` was resolved to, "" where the policy names its architectures
    native: str
    file: str = field(compare=False)
    #: the texts this was read from, as (file, text), this one first
    sources: tuple[tuple[str, str], ...] = field(compare=False, repr=False)
    notes: tuple[Diagnostic, ...] = field(compare=False, repr=False)
    _memo: dict[Any, Any] = field(compare=False, repr=False)

    def __init__(
        self,
        default: Action | str | None = None,
        arch: str | Sequence[str] | None = None,
        rules: Iterable[Rule | Include] = (),
        *,
        badarch: Action | str | None = None,
        x32: Action | str | None = None,
        unknown: Action | str | None = None,
        negative: Action | str | None = None,
        tables: str | None = None,
        native: str | None = None,
    ) -> None:
        words = (arch,) if isinstance(arch, str) else None if arch is None else tuple(arch)
        actions = [_action(value) for value in (default, badarch, x32, unknown, negative)]
        header = Header(actions[0], _arch_names(words), actions[1], actions[2], actions[3], actions[4], tables)
        _fill(self, tuple(rules), header, "<python>", (), native)

    def __str__(self) -> str:
        from seclude.policy.printer import print_policy

        return print_policy(self)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule in the order it is tried, those of included policies in their place."""
        return self._once("rules", lambda: tuple(flatten(self.items)))  # type: ignore[no-any-return]

    @property
    def effective(self) -> Header:
        """The header lines with the inherited ones and the documented defaults filled in (``unknown`` may be None: see `lower`)."""
        return self._once("effective", lambda: _effective(self))  # type: ignore[no-any-return]

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """The architectures that are listed, ``native`` and ``compat`` resolved."""
        return self._once("architectures", lambda: _architectures(self))  # type: ignore[no-any-return]

    @property
    def tables(self) -> str:
        """The version of the tables this was written with: calls that came later are unknown to it."""
        return self.effective.tables or ""

    def calls_of(self, arch: Architecture) -> dict[str, int]:
        """The calls of ``arch`` that this policy's tables name."""
        from seclude.abi import calls_at

        return self._once(("calls", arch.name), lambda: calls_at(arch, self.tables))  # type: ignore[no-any-return]

    def number(self, arch: Architecture, name: str) -> int | None:
        """The number of the call ``name`` on ``arch`` in this policy's tables; synonyms are understood."""
        return self.calls_of(arch).get(arch.synonyms.get(name, name))

    def install(self, **options: Any) -> Any:
        """Put this process under the policy, irreversibly: see `seclude.sandbox.install`."""
        # By name: the sandbox is built on policies, so a policy cannot import it.
        from importlib import import_module

        return import_module("seclude.sandbox.install").install(self, **options)

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def __reduce__(self) -> tuple[Any, ...]:
        return build, (self.items, self.header, self.file, self.sources, self.native or None)


def build(
    items: tuple[Rule | Include, ...], header: Header, file: str, sources: tuple[tuple[str, str], ...], native: str | None = None
) -> Policy:
    """A policy from parsed parts. Raises `PolicyError` with every fault of meaning."""
    policy = object.__new__(Policy)
    _fill(policy, items, header, file, sources, native)
    return policy


def _fill(
    policy: Policy,
    items: tuple[Rule | Include, ...],
    header: Header,
    file: str,
    sources: tuple[tuple[str, str], ...],
    native: str | None,
) -> None:
    from seclude.policy.check import check

    put = object.__setattr__
    put(policy, "items", items)
    put(policy, "file", file)
    put(policy, "notes", ())
    put(policy, "_memo", {})
    put(policy, "native", "")
    put(policy, "header", header)
    inherited = _inherit(header, items, file)
    words = inherited.arch or ("native",)
    if "native" in words:
        put(policy, "native", _native(native))
    if header.tables is None:
        put(policy, "header", replace(header, tables=inherited.tables or _tables()))
    put(policy, "sources", sources)
    findings = check(policy)
    faults = [f for f in findings if f.severity == "error"]
    if faults:
        raise PolicyError(faults)
    put(policy, "notes", tuple(findings))
    if not sources:
        put(policy, "sources", ((file, str(policy)), *_included_sources(items)))


def _included_sources(items: tuple[Rule | Include, ...]) -> Iterator[tuple[str, str]]:
    for item in items:
        if isinstance(item, Include):
            yield from item.sources


def _tables() -> str:
    from seclude.abi import TABLES

    return TABLES


def _native(name: str | None) -> str:
    from seclude import abi

    return abi.arch(name).name if name else abi.native().name


def _action(value: Action | str | None) -> Action | None:
    from seclude.policy.parser import parse_action

    return parse_action(value) if isinstance(value, str) else value


def _arch_names(words: tuple[str, ...] | None) -> tuple[str, ...] | None:
    from seclude import abi

    try:
        return words and tuple(w if w in ("native", "compat") else abi.arch(w).name for w in words)
    except UsageError as error:
        raise PolicyError(error.diagnostics) from None


def flatten(items: tuple[Rule | Include, ...]) -> Iterator[Rule]:
    """The rules of ``items``, those of includes in their place."""
    for item in items:
        if isinstance(item, Include):
            yield from flatten(item.items)
        else:
            yield item


def _inherit(header: Header, items: tuple[Rule | Include, ...], file: str) -> Header:
    """``header`` with what it does not state taken from the includes. Raises `PolicyError` where two of them differ."""
    values: dict[str, Any] = {word: getattr(header, word) for word in HEADER_WORDS}
    spans = dict(header.spans)
    origin: dict[str, Include] = {}
    for item in items:
        if not isinstance(item, Include):
            continue
        inner = _inherit(item.header, item.items, item.name)
        for word in HEADER_WORDS:
            value = getattr(inner, word)
            if value is None or getattr(header, word) is not None:
                continue
            if word not in origin:
                origin[word] = item
                values[word] = value
                if word in inner.spans:
                    spans[word] = inner.spans[word]
            elif values[word] != value:
                raise PolicyError(
                    Diagnostic(
                        f"{file}: {origin[word].name} states '{word} {_shown(values[word])}' and {item.name} '{word} {_shown(value)}'",
                        item.span,
                        f"say which is meant with a '{word}' line of its own",
                    )
                )
    return Header(**values, spans=spans)


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _effective(policy: Policy) -> Header:
    header = _inherit(policy.header, policy.items, policy.file)
    kill = Action("kill_process")
    unknown = header.unknown
    if unknown is None:
        unknown = kill if header.default and header.default.kills else Action("errno", "ENOSYS")
    return replace(
        header,
        arch=header.arch or ("native",),
        badarch=header.badarch or kill,
        x32=header.x32 or kill,
        unknown=unknown,
        negative=header.negative or kill,
    )


def _architectures(policy: Policy) -> tuple[Architecture, ...]:
    from seclude import abi

    words = policy.effective.arch or ()
    found = [abi.arch(policy.native if word == "native" else word) for word in words if word != "compat"]
    if "compat" in words:
        found += [companion for listed in tuple(found) for companion in abi.companions(listed)]
    return tuple(dict.fromkeys(found))


def header_place(policy: Policy, word: str) -> str:
    """``file:line`` of a header line, inherited ones too, or "" where it is not stated."""
    span: Span | None = policy.effective.spans.get(word)
    return f"{span.file}:{span.line}" if span else ""
