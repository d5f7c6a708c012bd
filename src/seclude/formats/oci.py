"""The seccomp object of the OCI runtime specification (config-linux.md, "Seccomp"), with the meaning that runc or crun gives it.

The specification leaves much open; the meaning is what libseccomp makes of the calls that the runtime makes, as measured with libseccomp 2.5.4,
runc 1.1.5 and crun 1.8.1:

* The native architecture is always part of the filter; others are added. Every other token gets KILL_THREAD. Without x32, numbers with bit 30 or 31
  set get that too, but for -1, which gets the default.
* Conditions of one rule hold together, rules for one name are alternatives. Where an index repeats within one rule, each of its conditions becomes a
  rule of its own. SCMP_CMP_MASKED_EQ masks first: ``arg & value == valueTwo & value``. 64-bit architectures compare whole registers,
  those with 32-bit pointers only the low words.
* A rule without conditions beats those with conditions; of two without, the first wins. A rule with the default action is dropped before.
* On architectures with socketcall and ipc, a rule for a call that they carry also permits them with that number: conditions on the first argument
  are lost, as it now holds the number, others apply to the multiplexer's own registers.
* Names that are no system calls are skipped.
* runc puts a stub in front: numbers above the highest that the profile names on an architecture get ENOSYS, unless the default permits or traces; on architectures that the
  profile lists, so an empty list has no stub.

What libseccomp decides by its internal order is refused, as is what the runtime refuses to start with: rules for one call whose conditions
overlap, if their actions differ or one of them looks at several arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seclude.errors import BudgetError, Diagnostic, UsageError
from seclude.formats import Profile
from seclude.formats.strict_json import Faults, Place, load
from seclude.policy.lowered import All, Clause, Field, Lowered, LoweredCall, LoweredToken, Test, arg_word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seclude.abi import Architecture
    from seclude.decision import Decision
    from seclude.decision.nodes import Node
    from seclude.policy.lowered import Predicate

__all__ = ["ABOUT", "MULTIPLEXED", "NAME", "RUNTIMES", "detect", "read"]

NAME = "oci"
ABOUT = "OCI runtime-spec seccomp object"
RUNTIMES = ("runc", "crun")

_KILL_THREAD, _ERRNO, _TRACE = 0, 0x0005_0000, 0x7FF0_0000
_ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x8000_0000,
    "SCMP_ACT_TRAP": 0x0003_0000,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_TRACE": _TRACE,
    "SCMP_ACT_ALLOW": 0x7FFF_0000,
    "SCMP_ACT_LOG": 0x7FFC_0000,
    "SCMP_ACT_NOTIFY": 0x7FC0_0000,
}
_NOTIFY = _ACTIONS["SCMP_ACT_NOTIFY"]
_EPERM, _ENOSYS = 1, 38
#: rules with conditions for one call: every pair of them is looked at
_COMPARED = 2000
_OPERATORS = ("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ")
_FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)
_KEYS = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata", "syscalls")
_FULL64 = (1 << 64) - 1
_X32 = 0x4000_0000

_SOCKETCALL = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg"
    " accept4 recvmmsg sendmmsg"
)
_REWRITING = "x86 m68k mips mipsel ppc ppc64 ppc64le s390 s390x sh sheb"
#: architectures on which libseccomp rewrites calls that a multiplexer carries
_REWRITTEN = frozenset(_REWRITING.split())
#: call → (multiplexer, first argument): linux/net.h, linux/ipc.h
MULTIPLEXED = {
    **{
        name: ("socketcall", number)
        for number, name in enumerate(_SOCKETCALL.split(), 1)
    },
    **{
        name: ("ipc", number)
        for name, number in {
            "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
            "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
        }.items()
    },
}  # fmt: skip


class _Condition(NamedTuple):
    register: int
    op: str
    value: int
    two: int


class _Rule(NamedTuple):
    where: str
    name: str
    value: int
    conditions: tuple[_Condition, ...]


def detect(raw: bytes) -> bool:
    """Whether the content is a JSON object with ``defaultAction``, or with ``linux.seccomp``, as far as can be seen without judging it."""
    if not raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return False
    import json

    try:
        found = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        # Broken JSON with the specification's words is a broken profile, and its reader says where.
        return b'"defaultAction"' in raw or b'"seccomp"' in raw
    if not isinstance(found, dict):
        return False
    linux = found.get("linux")
    return "defaultAction" in found or (isinstance(linux, dict) and isinstance(linux.get("seccomp"), dict))


def read(raw: bytes, name: str, *, runtime: str = "runc", native: str | Architecture | None = None) -> Profile:
    """The meaning of the profile under ``runtime`` on a machine whose architecture is ``native`` (default: this process's).

    Raises `InputError` with every fault and its place, `UsageError` for an unknown runtime, `BudgetError`.
    """
    from seclude import abi

    if runtime not in RUNTIMES:
        raise UsageError(f"no runtime {runtime!r} is known", f"runtimes: {', '.join(RUNTIMES)}")
    home = abi.arch(native) if native is not None else abi.native()
    faults = Faults(name)
    document = Place(load(raw, name), "", faults)
    seccomp = document
    if isinstance(document.value, dict) and "defaultAction" not in document.value and isinstance(document.value.get("linux"), dict):
        seccomp = document.at("linux").at("seccomp") if document.at("linux").has("seccomp") else document
    reader = _Reader(seccomp, runtime, home)
    faults.check()
    decision = reader.decision()
    faults.check()
    return Profile(NAME, name, decision, home.byteorder, tuple(reader.notes))


class _Reader:
    """The object, checked and taken apart."""

    def __init__(self, place: Place, runtime: str, home: Architecture) -> None:
        self.runtime = runtime
        self.home = home
        self.notes: list[Diagnostic] = []
        self.faults = place.faults
        self.archs: tuple[Architecture, ...] = (home,)
        self.listed: tuple[Architecture, ...] = ()
        self.default = 0
        self.rules: list[_Rule] = []
        #: every name, those of rules that are dropped too
        self.named: set[str] = set()
        if isinstance(place.value, dict) and "archMap" in place.value:
            place.fault(
                "this is the source form of a container engine's default profile: 'archMap', 'includes' and 'excludes' are resolved by the engine",
                "give what the engine hands to the runtime: the seccomp object of the container's config.json",
            )
            return
        if not place.keys(_KEYS, ["defaultAction"]):
            return
        if place.has("defaultAction"):
            self.default = self.action(place.at("defaultAction"), place.at("defaultErrnoRet") if place.has("defaultErrnoRet") else None)
        if place.has("architectures"):
            self.architectures(place.at("architectures"))
        if place.has("flags"):
            for flag in place.at("flags").items():
                if flag.text() not in _FLAGS:
                    flag.fault(f"no flag that {runtime} knows", f"known: {', '.join(_FLAGS)}")
        for rule in place.at("syscalls").items() if place.has("syscalls") else ():
            self.rule(rule)
        self.listener(place)

    def action(self, place: Place, errno: Place | None) -> int:
        """The RET word of an action with its errnoRet."""
        word = place.text()
        if word not in _ACTIONS:
            if word:
                place.fault(f"no action {word!r}", f"known: {', '.join(_ACTIONS)}")
            return 0
        value = _ACTIONS[word]
        number = errno.number(0xFFFF_FFFF) if errno is not None else None
        if value not in (_ERRNO, _TRACE):
            if number is not None and self.runtime == "crun" and errno is not None:
                errno.fault(f"crun refuses an errno with {word}", "leave it out")
            return value
        if number is None:
            return value | _EPERM
        if value == _ERRNO and number > 4095 and errno is not None:
            errno.fault(f"the runtime does not start with errno {number}: 4095 is the highest")
        if value == _TRACE and number > 0xFFFF and errno is not None:
            errno.fault("the data of SCMP_ACT_TRACE has 16 bits")
        return value | number & 0xFFFF

    def architectures(self, place: Place) -> None:
        """The listed architectures, the native one in front."""
        from seclude import abi

        found: list[Architecture] = []
        for one in place.items():
            word = one.text()
            try:
                if not word.startswith("SCMP_ARCH_") or word == "SCMP_ARCH_NATIVE":
                    raise UsageError("")
                found.append(abi.arch(word))
            except UsageError:
                one.fault(f"no architecture {word!r}", "they are written SCMP_ARCH_X86_64, SCMP_ARCH_AARCH64, ...")
                continue
            if found[-1].byteorder != self.home.byteorder:
                one.fault(
                    f"{found[-1].name} is {found[-1].byteorder} endian, the machine ({self.home.name}) {self.home.byteorder} endian",
                    "one filter has one byte order: say which machine is meant with --arch",
                )
        self.listed = tuple(dict.fromkeys(found))
        self.archs = tuple(dict.fromkeys((self.home, *found)))

    def rule(self, place: Place) -> None:
        """One member of ``syscalls``."""
        if (
            not place.keys(("names", "action", "errnoRet", "args"), ("names", "action"))
            or not place.has("names")
            or not place.has("action")
        ):
            return
        value = self.action(place.at("action"), place.at("errnoRet") if place.has("errnoRet") else None)
        conditions = [self.condition(one) for one in place.at("args").items()] if place.has("args") else []
        names = place.at("names").items()
        if not names:
            place.at("names").fault("lists no call", "the specification wants at least one")
        indexes = [one.register for one in conditions]
        groups = [tuple(conditions)] if len(set(indexes)) == len(indexes) else [(one,) for one in conditions]
        for one in names:
            name = one.text()
            if not name:
                one.fault("an empty name")
            if value == _NOTIFY and name == "write" and self.runtime == "runc":
                one.fault("runc refuses SCMP_ACT_NOTIFY on write: its own last step before the program would wait for ever")
            self.named.add(name)
            if value != self.default:  # else dropped by the runtime before anything is compiled
                self.rules += [_Rule(one.where, name, value, group) for group in groups]

    def condition(self, place: Place) -> _Condition:
        """One member of ``args``."""
        if not place.keys(("index", "value", "valueTwo", "op"), ("index", "value", "op")):
            return _Condition(0, "SCMP_CMP_EQ", 0, 0)
        index = place.at("index").number(5) if place.has("index") else 0
        value = place.at("value").number(_FULL64) if place.has("value") else 0
        two = place.at("valueTwo").number(_FULL64) if place.has("valueTwo") else 0
        op = place.at("op").text() if place.has("op") else "SCMP_CMP_EQ"
        if op not in _OPERATORS:
            place.at("op").fault(f"no operator {op!r}", f"known: {', '.join(_OPERATORS)}")
        return _Condition(index, op, value, two)

    def listener(self, place: Place) -> None:
        """What the runtimes say about SCMP_ACT_NOTIFY."""
        path = place.at("listenerPath").text() if place.has("listenerPath") else ""
        notifying = self.default == _NOTIFY or any(rule.value == _NOTIFY for rule in self.rules)
        if self.runtime == "runc" and self.default == _NOTIFY:
            place.fault("runc refuses SCMP_ACT_NOTIFY as the default action")
        if notifying and not path:
            if self.runtime == "runc":
                place.fault("SCMP_ACT_NOTIFY without 'listenerPath': runc does not start such a container")
            else:
                self.notes.append(Diagnostic("SCMP_ACT_NOTIFY without 'listenerPath': those calls fail with ENOSYS", severity="note"))

    def decision(self) -> Decision:
        """What the runtime loads."""
        from seclude.decision.policy import from_lowered

        known = {name for one in self.archs for name in one.calls()} | set(MULTIPLEXED) | {"socketcall", "ipc"}
        for name in sorted(self.named - known):
            self.notes.append(Diagnostic(f"{name!r} is no system call: skipped, as {self.runtime} does", severity="note"))
        tokens: dict[int, list[Architecture]] = {}
        for one in self.archs:
            tokens.setdefault(one.token, []).append(one)
        lowered = Lowered(self.home.byteorder, tuple(self.token(token, archs) for token, archs in tokens.items()), _KILL_THREAD)
        self.faults.check()
        found = from_lowered(lowered)
        return self.with_stub(found, tokens) if self.runtime == "runc" else found

    def token(self, token: int, archs: list[Architecture]) -> LoweredToken:
        """What libseccomp generates for one token: x86_64, x32, or both together; else one architecture."""
        calls: dict[int, LoweredCall] = {}
        for one in archs:
            calls |= self.calls(one)
        names = {one.name for one in archs}
        others: tuple[tuple[int, int, int], ...] = ((0, 0xFFFF_FFFF, self.default),)
        if names == {"x86_64"}:
            others = ((0, _X32 - 1, self.default), (_X32, 0xFFFF_FFFE, _KILL_THREAD), (0xFFFF_FFFF, 0xFFFF_FFFF, self.default))
        return LoweredToken(token, archs[0].name, calls, others)

    def calls(self, arch: Architecture) -> dict[int, LoweredCall]:
        """The calls that have rules on one architecture."""
        by_number: dict[int, list[_Rule]] = {}
        for rule in self.rules:
            for number, conditions in self.targets(arch, rule):
                by_number.setdefault(number, []).append(rule._replace(conditions=conditions))
        return {number: self.call(arch, number, rules) for number, rules in by_number.items()}

    def targets(self, arch: Architecture, rule: _Rule) -> Iterable[tuple[int, tuple[_Condition, ...]]]:
        """The numbers that a rule is about, each with its conditions."""
        carried = MULTIPLEXED.get(rule.name) if arch.name in _REWRITTEN else None
        if carried is not None:
            number = arch.number(carried[0])
            if number is not None:
                first = _Condition(0, "SCMP_CMP_EQ", carried[1], 0)
                yield number, (first, *(one for one in rule.conditions if one.register))
        number = arch.calls().get(rule.name)
        if number is not None:
            yield number, rule.conditions

    def call(self, arch: Architecture, number: int, rules: list[_Rule]) -> LoweredCall:
        """One call: a rule without conditions decides alone; the others must not contradict each other."""
        name = arch.call_name(number) or str(number)
        plain = next((rule for rule in rules if not rule.conditions), None)
        if plain is not None:
            return LoweredCall(name, (), plain.value)
        clauses = []
        for index, rule in enumerate(rules):
            parts = tuple(_test(arch, one) for one in rule.conditions)
            clauses.append((Clause(All(parts), rule.value, index, True, rule.where, None), rule))
        self.contradictions(arch, name, clauses)
        return LoweredCall(name, tuple(clause for clause, _ in clauses), self.default)

    def contradictions(self, arch: Architecture, name: str, clauses: list[tuple[Clause, _Rule]]) -> None:
        """Report rules that hold for the same call where libseccomp's answer is not simply that one of them applies."""
        from seclude.decision.nodes import FALSE
        from seclude.decision.ops import both
        from seclude.decision.policy import condition

        if len(clauses) > _COMPARED:
            raise BudgetError(
                f"{len(clauses)} rules with conditions for {name} on {arch.name}: more than {_COMPARED} are not compared with each other",
                "join rules into masks and ranges",
            )
        nodes = [condition(clause.condition) for clause, _ in clauses]
        chains = [tuple(sorted(rule.conditions)) for _, rule in clauses]
        tests: dict[_Condition, Node] = {}
        for later, (clause, rule) in enumerate(clauses):
            for earlier, (other, first) in enumerate(clauses[:later]):
                same = clause.value == other.value
                single = len(rule.conditions) == 1 == len(first.conditions)
                if same and (single or nodes[earlier] is nodes[later]):
                    continue
                if _apart(arch, chains[later], chains[earlier], tests) or (single and both(nodes[earlier], nodes[later]) is FALSE):
                    continue
                what = "conditions on several arguments" if same else "different actions"
                self.faults.add(
                    rule.where,
                    f"on {arch.name}, this rule for {name} and the one at {first.where} overlap, with {what}",
                    "what applies then depends on the insides of libseccomp, if it takes them at all: make the conditions exclude each other",
                )
                return

    def with_stub(self, decision: Decision, tokens: dict[int, list[Architecture]]) -> Decision:
        """The decision with runc's ENOSYS stub in front (libcontainer/seccomp/patchbpf)."""
        permissive = self.default & 0xFFFF_0000 in (0x7FFF_0000, 0x7FFC_0000, _TRACE)
        if permissive:
            return decision
        from seclude.decision import restrict
        from seclude.decision.calls import ALL_CALLS, calls_with
        from seclude.decision.ops import both
        from seclude.decision.value import ARCH, NR
        from seclude.decision.words import FULL, equals, word_in

        stubbed = ~ALL_CALLS
        for token, archs in tokens.items():
            ranges: list[tuple[int, int]] = []
            for one in archs:
                last = self.highest(one) if one in self.listed else 0
                if not last:
                    continue
                # Under the token of x86_64 and x32, bit 30 alone says whose number it is, bit 31 nothing.
                match one.name:
                    case "x86_64":
                        ranges += [(last + 1, _X32 - 1), (0x8000_0000, 0xBFFF_FFFF)]
                    case "x32":
                        ranges += [(last + 1, 0x7FFF_FFFF), (0xC000_0000, FULL)]
                    case _:
                        ranges.append((last + 1, FULL))
            if ranges:
                stubbed |= calls_with(both(equals(ARCH, token), word_in(NR, FULL, tuple(sorted(ranges)))))
        return restrict(decision, ~stubbed, _ERRNO | _ENOSYS)

    def highest(self, arch: Architecture) -> int:
        """The highest number that any rule names on an architecture, rules that were dropped included; 0 for none."""
        return max((arch.calls().get(name, 0) for name in self.named), default=0)


def _apart(arch: Architecture, one: tuple[_Condition, ...], other: tuple[_Condition, ...], tests: dict[_Condition, Node]) -> bool:
    """Whether two chains of conditions, sorted by index, part at an argument for which they allow no common value. ``tests`` is a cache."""
    from seclude.decision.nodes import FALSE
    from seclude.decision.ops import both
    from seclude.decision.policy import condition

    for mine, theirs in zip(one, other, strict=False):
        if mine.register != theirs.register:
            return False
        if mine == theirs:
            continue
        if mine.op == theirs.op == "SCMP_CMP_EQ":
            return (mine.value ^ theirs.value) & ((1 << arch.bits) - 1) != 0  # every pair of a long list comes by here
        for test in (mine, theirs):
            if test not in tests:
                tests[test] = condition(_test(arch, test))
        return both(tests[mine], tests[theirs]) is FALSE
    return False


def _test(arch: Architecture, one: _Condition) -> Predicate:
    """A condition as libseccomp compares it: whole registers where pointers have 64 bits, else low words."""
    bits = arch.bits
    top = (1 << bits) - 1
    low = arg_word(one.register)
    field = Field(((low, 32), (low + 1, 32))) if bits == 64 else Field(((low, 32),))
    value, mask = one.value & top, top
    ranges: tuple[tuple[int, int], ...]
    match one.op:
        case "SCMP_CMP_EQ":
            ranges = ((value, value),)
        case "SCMP_CMP_NE":
            ranges = tuple(pair for pair in ((0, value - 1), (value + 1, top)) if pair[0] <= pair[1])
        case "SCMP_CMP_LT":
            ranges = ((0, value - 1),) if value else ()
        case "SCMP_CMP_LE":
            ranges = ((0, value),)
        case "SCMP_CMP_GE":
            ranges = ((value, top),)
        case "SCMP_CMP_GT":
            ranges = ((value + 1, top),) if value < top else ()
        case _:
            mask = value
            wanted = one.two & value
            ranges = ((wanted, wanted),)
    return Test(field, mask, ranges)
