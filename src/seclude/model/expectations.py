"""Files of expectations: what calls shall come to under a policy, one table each, in TOML.

    policy = "editor.seclude"          # a file beside this one, a preset's name; or given on the command line
    arch = ["x86_64"]                  # of every expectation that names none; default: this machine's

    [[expect]]
    call = "socket"
    args = { domain = "AF_VSOCK" }     # by name, or in order: ["AF_VSOCK", "SOCK_STREAM", 0]
    action = "errno(EPERM)"            # or a class: permit, deny, kill, undecided
    why = "no way to the host"         # said when it is not met

Every fault of a file is reported together, with its line.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple

from seclude.abi import Architecture, native
from seclude.abi import arch as find_arch
from seclude.decision.asked import Call, read_call
from seclude.errors import Diagnostic, InputError, SecludeError, Span, nearest
from seclude.model.questions import Wanted, action_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seclude.model.questions import Expectations

__all__ = ["ExpectationFile", "Expected", "Outcome", "judge", "read_expectations"]

_FIELDS = ("call", "args", "arch", "action", "why")
_TOP = ("policy", "arch", "kernel", "expect")


class Expected(NamedTuple):
    """One call on one architecture, and what it shall come to. ``span`` is where the file says so."""

    call: Call
    wanted: Wanted
    why: str
    span: Span


class ExpectationFile(NamedTuple):
    """What a file says. ``policy`` is a preset's name or a path, "" where the file names none."""

    name: str
    policy: str
    kernel: str
    expected: tuple[Expected, ...]


class Outcome(NamedTuple):
    """One expectation and what the filters answer, as a 32-bit value and in words."""

    expected: Expected
    value: int
    action: str

    @property
    def met(self) -> bool:
        return self.expected.wanted.met(self.value)


def read_expectations(text: str, name: str) -> ExpectationFile:
    """Read a file's text. Raises `InputError` with every fault and its line."""
    lines = text.split("\n")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(_syntax(error, name, lines)) from None
    reader = _Reader(name, lines, data)
    found = reader.read()
    if reader.faults:
        raise InputError(reader.faults)
    return found


def _syntax(error: tomllib.TOMLDecodeError, name: str, lines: Sequence[str]) -> Diagnostic:
    place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    if place is None:
        line, column = max(1, len(lines)), 1
    else:
        line, column = int(place[1]), int(place[2])
    message = re.sub(r" \(at .*\)$", "", str(error))
    source = lines[line - 1] if line <= len(lines) else ""
    return Diagnostic(f"not TOML: {message}", Span(name, line, column, column + 1, source), "see: seclude expect --help")


class _Reader:
    """One file being read; ``faults`` are collected."""

    def __init__(self, name: str, lines: Sequence[str], data: dict[str, Any]) -> None:
        self.name = name
        self.lines = lines
        self.data = data
        self.faults: list[Diagnostic] = []
        self.headers = [number for number, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*expect\s*\]\]", line)]

    def fault(self, message: str, span: Span, remedy: str = "") -> None:
        self.faults.append(Diagnostic(message, span, remedy))

    def span(self, entry: int | None = None, field: str = "") -> Span:
        """Where the ``entry``-th table is, or its ``field``; the top of the file for None."""
        # Tables written inline (expect = [{...}]) have no header of their own: then their list's place must do.
        inline = entry is None or entry >= len(self.headers)
        start = 1 if inline or entry is None else self.headers[entry]
        end = (
            (self.headers[0] if self.headers else len(self.lines) + 1)
            if inline or entry is None
            else (*self.headers, len(self.lines) + 1)[entry + 1]
        )
        for number in range(start, end):
            match = re.match(rf"\s*({re.escape(field)})\s*=", self.lines[number - 1]) if field else None
            if match:
                return Span(self.name, number, match.start(1) + 1, match.end(1) + 1, self.lines[number - 1])
        line = self.lines[start - 1] if start <= len(self.lines) else ""
        return Span(self.name, start, 1, max(2, len(line) + 1), line)

    def text(self, value: object, what: str, span: Span) -> str:
        if isinstance(value, str):
            return value
        self.fault(f"{what} is text, not {value!r}", span)
        return ""

    def architectures(self, value: object, span: Span) -> list[Architecture]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names:
            self.fault(f"arch is the name of an architecture or a list of names, not {value!r}", span)
            return []
        found = []
        for one in names:
            try:
                found.append(native() if one == "native" else find_arch(self.text(one, "arch", span)))
            except SecludeError as error:
                self.fault(str(error), span)
        return found

    def read(self) -> ExpectationFile:
        for key in self.data.keys() - set(_TOP):
            near = nearest(key, _TOP)
            self.fault(
                f"unknown key {key!r}" + (f"; did you mean {near!r}?" if near else ""), self.span(None, key), f"keys: {', '.join(_TOP)}"
            )
        policy = self.text(self.data.get("policy", ""), "policy", self.span(None, "policy"))
        kernel = self.text(self.data.get("kernel", "6.18"), "kernel", self.span(None, "kernel"))
        general = self.architectures(self.data.get("arch", "native"), self.span(None, "arch"))
        tables = self.data.get("expect", [])
        expected: list[Expected] = []
        if not isinstance(tables, list) or not tables:
            self.fault("no expectation", self.span(), "write one: [[expect]] with call and action")
            tables = []
        for entry, table in enumerate(tables):
            if isinstance(table, dict):
                expected += self.entry(entry, table, general)
            else:
                self.fault(f"an expectation is a table, not {table!r}", self.span(entry))
        return ExpectationFile(self.name, self._beside(policy), kernel, tuple(expected))

    def entry(self, entry: int, table: dict[str, Any], general: list[Architecture]) -> list[Expected]:
        for key in table.keys() - set(_FIELDS):
            near = nearest(key, _FIELDS)
            hint = f"; did you mean {near!r}?" if near else ""
            self.fault(f"unknown key {key!r}{hint}", self.span(entry, key), f"keys: {', '.join(_FIELDS)}")
        for key in ("call", "action"):
            if key not in table:
                self.fault(f"this expectation has no {key!r}", self.span(entry))
        if "call" not in table or "action" not in table:
            return []
        call = str(table["call"]) if isinstance(table["call"], int) else self.text(table["call"], "call", self.span(entry, "call"))
        action = self.text(table["action"], "action", self.span(entry, "action"))
        why = self.text(table.get("why", ""), "why", self.span(entry, "why"))
        words = self.words(table.get("args", []), self.span(entry, "args"))
        out = []
        for arch in self.architectures(table["arch"], self.span(entry, "arch")) if "arch" in table else general:
            try:
                asked = read_call(arch, call, words)
            except SecludeError as error:
                self.fault(str(error.diagnostics[0].message), self.span(entry, "args" if words else "call"), error.diagnostics[0].remedy)
                continue
            try:
                out.append(Expected(asked, Wanted.read(action, arch), why, self.span(entry)))
            except SecludeError as error:
                self.fault(str(error.diagnostics[0].message), self.span(entry, "action"), error.diagnostics[0].remedy)
        return out

    def words(self, args: object, span: Span) -> list[str]:
        if isinstance(args, list):
            pairs: list[tuple[str, object]] = [("", value) for value in args]
        elif isinstance(args, dict):
            pairs = [(f"{name}=", value) for name, value in args.items()]
        else:
            self.fault(f"args is a list of values or a table of named ones, not {args!r}", span)
            return []
        for _, value in pairs:
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                self.fault(f"an argument is a number or text, not {value!r}", span)
                return []
        return [f"{name}{value}" for name, value in pairs]

    def _beside(self, policy: str) -> str:
        """A file's name is meant from where the expectations are; a preset's is not."""
        from seclude.policy import PRESETS

        if not policy or policy in PRESETS or os.path.isabs(policy):
            return policy
        return os.path.join(os.path.dirname(self.name), policy)


def judge(file: ExpectationFile, policy: Expectations) -> list[Outcome]:
    """What the filters answer to each call of the file."""
    return [Outcome(one, value, action_word(value, one.call.arch)) for one in file.expected for value in (policy.value(one.call),)]
