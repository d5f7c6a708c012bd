"""The values a policy is made of. Each is small, frozen and compares by what it says, never by where it stands.

``Policy(items, ...)`` holds rules and includes in order, and its header lines as stated. A condition is a tree whose
leaves are numbers and names; it keeps the names, so that what was written is what is printed. Whether a name is a
parameter, a constant or nothing at all depends on the call and the architecture, and is found by `check`.

Built in Python with the language's own words::

    Policy(
        default=errno("EPERM"),
        arch=("native", "compat"),
        rules=[
            allow("@base", "@memory", "exit_group"),
            allow("openat(flags & O_ACCMODE == O_RDONLY)"),
            allow("socket", when="domain in {AF_UNIX, AF_INET}"),
            kill("ptrace", on="x86"),
            errno("ENOSYS")("clone3"),
            include("container"),
        ],
    )
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seclude.errors import Diagnostic, Span

__all__ = [
    "HEADER_ACTIONS",
    "Action",
    "And",
    "Binary",
    "Call",
    "Comparison",
    "Condition",
    "Expression",
    "Header",
    "Include",
    "Literal",
    "Name",
    "Not",
    "Or",
    "Range",
    "Rule",
    "Set",
    "Unary",
]

#: header lines whose value is an action
HEADER_ACTIONS = ("default", "badarch", "x32", "unknown", "negative")


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to a call: ``kind`` is allow, log, notify, trace, errno, trap, kill_thread or kill_process.

    ``data`` is errno's name or number, the data of trap and trace (0..65535), and None for the others.
    """

    kind: str
    data: int | str | None = None

    def __str__(self) -> str:
        return self.kind if self.data is None else f"{self.kind}({self.data})"

    def __call__(self, *calls: str | int | Call, when: str | None = None, on: str | Iterable[str] = ()) -> Rule:
        """The rule ``action calls``; ``when`` is a condition for each call, ``on`` limits it to architectures."""
        from seclude.policy.language import make_rule

        return make_rule(self, calls, when, on)

    @property
    def kills(self) -> bool:
        """Whether a thread or the process ends without a signal it could catch."""
        return self.kind in ("kill_process", "kill_thread")


@dataclass(frozen=True, slots=True)
class Literal:
    """A number as written; ``text`` keeps its base for printing."""

    value: int
    text: str = field(default="", compare=False)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A constant, a parameter, ``arg0``..``arg5`` or ``ip``. ``raw`` is the suffix ``:u64``: the whole register."""

    name: str
    raw: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """``~part`` or ``-part``."""

    op: str
    part: Expression
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """``left op right`` for ``&``, ``|`` and ``<<``."""

    op: str
    left: Expression
    right: Expression
    span: Span | None = field(default=None, compare=False, repr=False)


Expression = Literal | Name | Unary | Binary


@dataclass(frozen=True, slots=True)
class Set:
    """``{a, b}``, the right side of ``in``."""

    items: tuple[Expression, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Range:
    """``low..high``, both included, the right side of ``in``."""

    low: Expression
    high: Expression
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``first op second op third ...``, chained as in Python: every neighbouring pair must hold."""

    first: Expression
    rest: tuple[tuple[str, Expression | Set | Range], ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Some part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


#: a bare expression is true where it is not zero, as in Python
Condition = And | Or | Not | Comparison | Literal | Name | Unary | Binary


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule lists: a call's ``name``, a ``@group`` (the name starts with ``@``), or a bare ``number``."""

    name: str = ""
    number: int | None = None
    condition: Condition | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def is_group(self) -> bool:
        return self.name.startswith("@")

    def __str__(self) -> str:
        from seclude.policy.printer import print_call

        return print_call(self)


@dataclass(frozen=True, slots=True)
class Rule:
    """``action calls``, on ``archs`` only where given. ``file`` is the text it came from."""

    action: Action
    calls: tuple[Call, ...]
    archs: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)
    file: str = field(default="<python>", compare=False)

    @property
    def place(self) -> str:
        """``file:line``, or the file alone for rules built in Python."""
        return f"{self.file}:{self.span.line}" if self.span else self.file

    def __str__(self) -> str:
        from seclude.policy.printer import print_rule

        return print_rule(self)


@dataclass(frozen=True, slots=True)
class Header:
    """The header lines; what is not stated is None (in a `Policy`), or filled in (by `Policy.effective`)."""

    default: Action | None = None
    arch: tuple[str, ...] | None = None
    badarch: Action | None = None
    x32: Action | None = None
    unknown: Action | None = None
    negative: Action | None = None
    tables: str | None = None
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Include:
    """``include NAME``: the rules of another policy, read already; its header lines are inherited unless restated."""

    name: str
    items: tuple[Rule | Include, ...] = ()
    header: Header = field(default_factory=Header)
    sources: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
    notes: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)
