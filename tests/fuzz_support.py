"""What fuzzing does with one input, for every target, and where it starts from.

A body takes any bytes and returns, or raises what is a fault: anything but a `SecludeError` from the code under test, and
`AssertionError` where a promise is broken. ``tests/fuzz/harness.py`` feeds the bodies with what coverage suggests; the tests run them over the seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seclude import abi
from seclude.bpf import Program, assemble, check, constant_allow, converted_length, disassemble, listing, pack_data, run, validate
from seclude.bpf import codes as bpf_codes
from seclude.decision import from_policy
from seclude.decision.policy import from_lowered
from seclude.errors import BudgetError, FilterError, InputError, PolicyError, SecludeError, printable
from seclude.formats import detect, read
from seclude.policy import GROUPS, PRESETS, lower, parse, preset_text
from seclude.policy import evaluate as meaning

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

__all__ = ["TARGETS", "Target", "seeds"]

TESTS = Path(__file__).resolve().parent
CORPUS = TESTS / "fuzz" / "corpus"
X86_64 = abi.arch("x86_64")
#: calls that a body asks about: token, number, arguments
CALLS = (
    (X86_64.token, 0, (3, 0x7FFF_0000_1000, 10)),
    (X86_64.token, 41, (0xFFFF_FFFF_0000_0001, 0x8000_0001, 6)),
    (X86_64.token, 0x4000_0000, (0,) * 6),
    (abi.arch("x86").token, 0xFFFF_FFFF, (0xFFFF_FFFF,) * 6),
    (abi.arch("s390x").token, 102, (1, 2)),
)


def told(error: SecludeError) -> None:
    """A refusal says something, in moderation, and can be written to a terminal."""
    assert error.diagnostics
    text = printable(str(error))
    assert text.strip()
    assert len(text.encode()) < 200_000
    for fault in error.diagnostics:
        if fault.span is not None:
            assert fault.span.line >= 1
            assert 1 <= fault.span.column <= max(fault.span.end, len(fault.span.source) + 1)


def program(data: bytes) -> None:
    """One byte for the byte order, then instructions: decoder, validator, disassembler, assembler, machine, bitmap."""
    byteorder = "big" if data[:1] == b"B" else "little"
    raw = data[1:]
    try:
        found = Program.from_bytes(raw, byteorder)
    except FilterError as error:
        told(error)
        assert len(raw) % 8
        return
    assert found.to_bytes() == raw
    assert assemble(disassemble(found)) == found
    assert len(listing(found).splitlines()) >= len(found)
    findings = validate(found)
    try:
        check(found)
        assert not findings
    except FilterError as error:
        told(error)
        assert findings
    for token, nr, args in CALLS:
        words = pack_data(nr, token, 0x1234_5678_9ABC, args)
        permitted = constant_allow(found, token, nr)
        try:
            value, steps = run(found, words)
        except FilterError as error:
            told(error)
            assert findings
            continue
        assert 0 <= value <= 0xFFFF_FFFF
        assert 1 <= steps <= len(found)
        if permitted and not findings:
            assert value == bpf_codes.SECCOMP_RET_ALLOW
    if not findings:
        assert converted_length(found) >= len(found)


def assembler(data: bytes) -> None:
    """Assembly text. What assembles is printed in the same language."""
    text = data.decode(errors="replace")
    try:
        found = assemble(text, file="fuzz.asm", arch="x86_64", include=_include)
    except FilterError as error:
        told(error)
        return
    assert assemble(disassemble(found)) == found


def _include(name: str, file: str) -> tuple[str, str]:
    if name == "twice":
        return name, "A = arch\ninclude 'thrice'\n"
    if name == "thrice":
        return name, "if (A == 3) goto +1\nA = sys_number\n"
    raise FilterError(f"{file}: no file {name!r}")


def policy(data: bytes) -> None:
    """A policy's bytes. What parses prints and reads back; the rules and the decision give the same answers."""
    try:
        found = parse(data, include=_included, native="x86_64")
    except PolicyError as error:
        told(error)
        return
    printed = str(found)
    again = parse(printed, include=_included, native="x86_64")
    assert again == found
    assert str(again) == printed
    lowered = lower(found)
    try:
        decision = from_lowered(lowered)
        assert from_policy(again) == decision
    except BudgetError as error:
        told(error)
        return
    known = {one.token for one in found.architectures}
    for token, nr, args in CALLS:
        if token in known:
            wide = (*args, *(0,) * (6 - len(args)))
            assert decision.value(pack_data(nr, token, 0, wide)) == meaning(found, token, nr, wide).value


def _included(name: str, file: str) -> tuple[str, str | bytes]:
    # From memory: a fuzzer that finds its way to /dev/stdin or a FIFO would wait for ever, rightly.
    if name in PRESETS:
        return name, preset_text(name)
    if name == "self":
        return file, "default allow\ninclude self\n"
    raise PolicyError(f"{file}: no policy {name!r}")


def oci(data: bytes) -> None:
    """One byte for the runtime and the machine, then a profile. What is read means the same however it is laid out."""
    first, raw = data[:1], data[1:]
    runtime, native = "crun" if first in b"cC" else "runc", "s390x" if first in b"CR" else "x86_64"
    shape = detect(raw)
    assert shape in (None, "oci")
    try:
        found = read(raw, "fuzz.json", format="oci", runtime=runtime, native=native)
    except (InputError, BudgetError) as error:
        told(error)
        return
    assert shape == "oci"
    assert found.byteorder == abi.arch(native).byteorder
    for note in found.notes:
        printable(str(note)).encode()
    plain = json.dumps(json.loads(raw.decode("utf-8-sig")), indent=1).encode()
    again = read(plain, "again.json", runtime=runtime, native=native)
    assert again.decision == found.decision
    for token, nr, args in CALLS:
        assert 0 <= found.decision.value(pack_data(nr, token, 0, args)) <= 0xFFFF_FFFF


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_JSON = _words(
    '"defaultAction" "defaultErrnoRet" "architectures" "flags" "listenerPath" "syscalls" "names" "action" "errnoRet" "args" "index"'
    ' "value" "valueTwo" "op" "linux" "seccomp" "archMap" "SCMP_ACT_ALLOW" "SCMP_ACT_ERRNO" "SCMP_ACT_KILL_PROCESS" "SCMP_ACT_TRACE" "SCMP_ACT_NOTIFY"'
    ' "SCMP_ARCH_X86_64" "SCMP_ARCH_X86" "SCMP_ARCH_X32" "SCMP_ARCH_S390X" "SCMP_ARCH_S390" "SCMP_CMP_EQ" "SCMP_CMP_NE" "SCMP_CMP_MASKED_EQ" "SCMP_CMP_LT"'
    ' "SCMP_CMP_GE" "SCMP_CMP_GT" "SECCOMP_FILTER_FLAG_LOG" "read" "socket" "semop" "ipc" "socketcall" "write" "nothing" ""'
    " null true [] {} 0 1 2 5 6 -1 38 4095 4096 1.5 4294967295 4294967296 9223372036854775808 18446744073709551615 18446744073709551616"
)
_VALUES = tuple(json.loads(word) for word in _JSON)
#: key → whether a value may stand there in a profile that is read
_PLAUSIBLE: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("defaultAction", "action"), lambda value: str(value).startswith("SCMP_ACT_")),
    **dict.fromkeys(("defaultErrnoRet", "errnoRet", "value", "valueTwo"), lambda value: type(value) is int and value >= 0),
    "architectures": lambda value: str(value).startswith("SCMP_ARCH_"),
    "flags": lambda value: str(value).startswith("SECCOMP_FILTER_FLAG_"),
    "index": lambda value: type(value) is int and 0 <= value <= 5,
    "names": lambda value: isinstance(value, str) and value.islower(),
    "op": lambda value: str(value).startswith("SCMP_CMP_"),
}
_TEXTS = tuple(value for value in _VALUES if isinstance(value, str))
#: every code that the kernel's classic BPF has: linux/filter.h, linux/bpf_common.h
_CODES = tuple(
    code
    for code in range(256)
    if code in {0x20, 0x80, 0x81, 0x00, 0x01, 0x60, 0x61, 0x02, 0x03, 0x05, 0x06, 0x16, 0x07, 0x87, 0x84}
    or (code & 7 == bpf_codes.BPF_ALU and code >> 4 <= 0xA)
    or (code & 7 == bpf_codes.BPF_JMP and 1 <= code >> 4 <= 4)
)


def other_program(data: bytes, rnd: random.Random) -> bytes:
    """Another program: instructions stay aligned, and mostly such as the kernel has."""
    cells = [data[at : at + 8] for at in range(1, len(data), 8)]
    for _ in range(rnd.choice((1, 1, 2, 4))):
        at = rnd.randrange(len(cells) + 1)
        kind = rnd.randrange(4)
        if kind == 0 or not cells:
            cells.insert(at, _instruction(rnd))
        elif kind == 1:
            cells[at % len(cells)] = _instruction(rnd)
        elif kind == 2:
            del cells[at % len(cells)]
        else:
            cells.insert(at, rnd.choice(cells))
    return rnd.choice((data[:1], b"L", b"B")) + b"".join(cells)


def _instruction(rnd: random.Random) -> bytes:
    low = rnd.choice((0, 1, 2, 3, 8, 15, 16, 31, 32, 60, 63))
    k = rnd.choice(
        (low, low, X86_64.token, 0x4000_0000, 0x8000_0000, 0xFFFF_FFFF, 0x7FFF_0000, 0x0005_0001, 0x7FF0_FFFF, rnd.getrandbits(32))
    )
    code = rnd.choice(_CODES) if rnd.random() < 0.95 else rnd.randrange(0x10000)
    jumps = (rnd.choice((0, 0, 1, 2, 3, 255)), rnd.choice((0, 0, 1, 2, 3, 255))) if code & 7 == bpf_codes.BPF_JMP else (0, 0)
    return Program([(code, *jumps, k)], rnd.choice(("little", "little", "little", "big"))).to_bytes()


def other_oci(data: bytes, rnd: random.Random) -> bytes:
    """Another profile: JSON stays JSON, with parts moved, doubled, dropped and replaced."""
    try:
        root = [json.loads(data[1:].decode("utf-8-sig"))]
    except (ValueError, RecursionError):
        return data
    for _ in range(rnd.choice((1, 1, 2, 4))):
        # where: the container, the key or index in it, and the nearest key on the way there
        places: list[tuple[Any, Any, str]] = []
        waiting: list[tuple[Any, str]] = [(root, "")]
        while waiting:
            inside, name = waiting.pop()
            if isinstance(inside, (dict, list)):
                found = [
                    (inside, key, key if isinstance(key, str) else name)
                    for key in (inside if isinstance(inside, dict) else range(len(inside)))
                ]
                places += found
                waiting += [(inside[key], name) for _, key, name in found]
        inside, key, name = rnd.choice(places)
        kind = rnd.randrange(6)
        if kind == 0 and inside is not root:
            del inside[key]
        elif kind == 1 and isinstance(inside, list) and inside is not root:
            inside.insert(key, _copy(inside[key]))
        elif kind == 2:
            other, there, _ = rnd.choice([place for place in places if place[2] == name] if rnd.random() < 0.8 else places)
            inside[key] = _copy(other[there])
        elif kind == 3 and isinstance(inside[key], dict):
            inside[key][rnd.choice(_TEXTS)] = _copy(rnd.choice(_VALUES))
        elif kind == 4 or name not in _PLAUSIBLE:
            if rnd.random() < 0.3:
                inside[key] = _copy(rnd.choice(_VALUES))
        elif not isinstance(inside[key], (dict, list)):
            inside[key] = rnd.choice([value for value in _VALUES if _PLAUSIBLE[name](value)])
    return rnd.choice((data[:1], b"r", b"R", b"c", b"C")) + json.dumps(root[0], separators=(",", ":")).encode()


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


class Target(NamedTuple):
    """A body, words of its language for the mutator, the longest input that is tried, and a mutator that knows the form."""

    body: Callable[[bytes], None]
    words: tuple[str, ...]
    longest: int
    other: Callable[[bytes, random.Random], bytes] | None = None


TARGETS = {
    "program": Target(program, (), 1 + 8 * 64, other_program),
    "assembler": Target(
        assembler,
        (
            *_words(
                "A X mem[0] arch sys_number args[0] args_h[1] data[16] instruction_pointer len if else goto next return return&A ( ) == != >= <= > < & && ||"
                " ! ? : = += -= *= /= %= |= ^= <<= >>= >> << ~ + .arch .byteorder .insn include 'twice' L0 L0: ALLOW ERRNO(EPERM) TRAP(1) TRACE"
                " KILL_PROCESS LOG USER_NOTIF ARCH_X86_64 ARCH_I386 AF_UNIX O_CREAT x86.read x32.write read x86_64 s390x big little 0xffffffff 0x80000000"
            ),
            "\n",
            "goto L0\nL0:\n",
        ),
        600,
    ),
    "policy": Target(
        policy,
        (
            *_words(
                "default allow errno(EPERM) errno(4095) kill kill_thread kill_process log notify trap(1) trace(65535) unknown badarch x32 arch tables include"
                " native x86_64 x86 s390x compat read write openat socket clone fcntl domain type flags cmd arg0 arg2:u64 arg5:s32 ip AF_UNIX O_CREAT|O_EXCL"
                " CLONE_NEWUSER in not and or NULL & | ~ << ( ) { } , .. == != < <= > >= && || ! -1 0xffffffffffffffff 18446744073709551616 self container #"
            ),
            *(f"@{name}" for name in list(GROUPS)[:8]),
            "\n",
            "default allow\n",
            "\\\n",
        ),
        600,
    ),
    "oci": Target(oci, (*_JSON, *_words('{ } [ ] : , NaN 1e999 -0 "\\ud800"')), 1500, other_oci),
}


def _compiled(byteorder: str) -> list[bytes]:
    from seclude.compiler import compile as build

    arch = "x86_64" if byteorder == "little" else "s390x"
    texts = (
        "default allow\nerrno(EPERM) ptrace, @mount\n",
        "default errno(ENOSYS)\nallow read, socket(domain == AF_UNIX)\nkill clone(flags & CLONE_NEWUSER)\n",
    )
    return [bytes(build(parse(f"arch {arch}\n{text}"))) for text in texts]


def seeds(target: str) -> dict[str, bytes]:
    """Where fuzzing starts: name → input, from the corpus, from the golden files of other tests and from the presets."""
    found = {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}
    match target:
        case "program":
            for path in sorted(TESTS.glob("bpf/golden/*.asm")):
                golden = assemble(path.read_text())
                found[path.stem] = (b"B" if golden.byteorder == "big" else b"L") + golden.to_bytes()
            for mark, byteorder in ((b"L", "little"), (b"B", "big")):
                found |= {f"compiled-{byteorder}-{index}": mark + raw for index, raw in enumerate(_compiled(byteorder))}
        case "assembler":
            found |= {path.name: path.read_bytes() for path in sorted(TESTS.glob("bpf/golden/*.[at][se][mx]*"))}
        case "policy":
            found |= {path.name: path.read_bytes() for path in sorted(TESTS.glob("policy/golden/*.policy"))}
            found |= {name: preset_text(name).encode() for name in PRESETS}
    return found
