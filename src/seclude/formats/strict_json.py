"""JSON without its traps: a key given twice is refused, and so are NaN, deep nesting and keys that nobody knows; each fault says where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from seclude.errors import Diagnostic, InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Faults", "Place", "load"]


class _DuplicateError(Exception):
    pass


def load(raw: bytes, name: str) -> Any:
    """The value of a JSON text. Raises `InputError` with line and column, or naming the key that is given twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in pairs:
            if key in out:
                raise _DuplicateError(key)
            out[key] = value
        return out

    def refuse(word: str) -> Any:
        raise InputError(f"{name}: {word} is no number of JSON")

    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text: byte {error.start}") from None
    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except _DuplicateError as error:
        line = _second(text, str(error))
        raise InputError(
            f"{name}{line}: the key {str(error)!r} is given twice", "readers differ in which one they take: leave one"
        ) from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply") from None
    except ValueError as error:  # a number with more digits than Python takes
        raise InputError(f"{name}: {error}") from None


def _second(text: str, key: str) -> str:
    """``:line`` of the second place where the key stands, if it stands in exactly two."""
    lines = [number for number, line in enumerate(text.splitlines(), 1) for _ in range(line.count(json.dumps(key)))]
    return f":{lines[1]}" if len(lines) == 2 else ""


class Faults:
    """Every fault of one file, reported together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[Diagnostic] = []

    def add(self, where: str, message: str, remedy: str = "") -> None:
        self.found.append(Diagnostic(f"{self.name}: {where}: {message}", None, remedy))

    def check(self) -> None:
        """Raise `InputError` if there is anything to report."""
        if self.found:
            raise InputError(self.found[:50])


class Place:
    """A value inside a JSON document, with the way to it (``linux.seccomp.syscalls[3].args``); what is wrong goes to `Faults`."""

    __slots__ = ("faults", "value", "where")

    def __init__(self, value: Any, where: str, faults: Faults) -> None:
        self.value = value
        self.where = where
        self.faults = faults

    def fault(self, message: str, remedy: str = "") -> None:
        """Report a fault of this value."""
        self.faults.add(self.where, message, remedy)

    def keys(self, known: Iterable[str], required: Iterable[str] = ()) -> bool:
        """Whether this is an object; unknown and missing keys are reported."""
        if not isinstance(self.value, dict):
            self.fault(f"expected an object, found {_kind(self.value)}")
            return False
        names = list(known)
        for key in self.value:
            if key not in names:
                guess = nearest(key, names)
                self.fault(f"unknown key {key!r}" + (f"; did you mean {guess!r}?" if guess else ""), f"known: {', '.join(names)}")
        for key in required:
            if self.value.get(key) is None:
                self.fault(f"the key {key!r} is missing")
        return True

    def has(self, key: str) -> bool:
        """Whether the object has the key, with something else than null."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def at(self, key: str) -> Place:
        """The value of a key."""
        return Place(self.value[key], f"{self.where}.{key}" if self.where else key, self.faults)

    def items(self) -> list[Place]:
        """The members of a list."""
        if not isinstance(self.value, list):
            self.fault(f"expected a list, found {_kind(self.value)}")
            return []
        return [Place(value, f"{self.where}[{index}]", self.faults) for index, value in enumerate(self.value)]

    def text(self) -> str:
        """A string, "" where it is none."""
        if isinstance(self.value, str):
            return self.value
        self.fault(f"expected a text, found {_kind(self.value)}")
        return ""

    def number(self, highest: int) -> int:
        """A whole number 0..highest, 0 where it is none."""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            if 0 <= self.value <= highest:
                return self.value
            self.fault(f"expected a number from 0 to {highest}, found {self.value}")
            return 0
        self.fault(f"expected a whole number, found {_kind(self.value)}")
        return 0


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return {
        dict: "an object",
        list: "a list",
        str: f"the text {str(value)[:40]!r}",
        int: f"the number {value}",
        float: f"the number {value}",
    }[type(value)]
