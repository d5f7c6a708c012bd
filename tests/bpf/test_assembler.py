"""The text form: golden listings, what each sentence assembles to, and how faults are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from seclude.abi import ARCHITECTURES, arch
from seclude.bpf import Instruction, Program, assemble, codes, disassemble, evaluate, listing, read_assembly, validate
from seclude.errors import FilterError, UsageError

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.asm")))
def test_golden(name):
    """NAME.asm is what a person writes; NAME.text what the disassembler prints of it, NAME.listing the same with raw fields."""
    program = assemble((GOLDEN / f"{name}.asm").read_text(), file=f"{name}.asm")
    assert disassemble(program) == (GOLDEN / f"{name}.text").read_text()
    assert listing(program) == (GOLDEN / f"{name}.listing").read_text()
    assert assemble((GOLDEN / f"{name}.text").read_text()) == program
    assert not validate(program)


def test_golden_files_come_in_threes():
    stems = {path.stem for path in GOLDEN.iterdir()}
    assert {path.name for path in GOLDEN.iterdir()} == {f"{stem}.{kind}" for stem in stems for kind in ("asm", "text", "listing")}


def one(text, **options):
    program = assemble(text, **options)
    assert len(program) == 1
    return tuple(program[0])


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("A = X", (0x87, 0, 0, 0)),
        ("X = A", (0x07, 0, 0, 0)),
        ("A = -A", (0x84, 0, 0, 0)),
        ("A = -1", (0x00, 0, 0, 0xFFFFFFFF)),
        ("A = 0xABc", (0x00, 0, 0, 0xABC)),
        ("A = 0b101 | 0o70", (0x00, 0, 0, 61)),
        ("A = 0644", (0x00, 0, 0, 0o644)),
        ("A = 1 << 4 | 2 * (3 + 4) & ~1 ^ 0", (0x00, 0, 0, 1 << 4 | 2 * (3 + 4) & ~1 ^ 0)),
        ("A = 7 / 2 - 17 % 3", (0x00, 0, 0, 1)),
        ("A = 0x80 >> 3", (0x00, 0, 0, 16)),
        ("X = 5", (0x01, 0, 0, 5)),
        ("A = len", (0x80, 0, 0, 0)),
        ("X = len", (0x81, 0, 0, 0)),
        ("A = mem[15]", (0x60, 0, 0, 15)),
        ("X = mem[0]", (0x61, 0, 0, 0)),
        ("mem[3] = A", (0x02, 0, 0, 3)),
        ("mem[0x3] = X", (0x03, 0, 0, 3)),
        ("A = sys_number", (0x20, 0, 0, 0)),
        ("A = arch", (0x20, 0, 0, 4)),
        ("A = instruction_pointer", (0x20, 0, 0, 8)),
        ("A = instruction_pointer >> 32", (0x20, 0, 0, 12)),
        ("A = args[0]", (0x20, 0, 0, 16)),
        ("A = args[5] >> 32", (0x20, 0, 0, 60)),
        ("A = args_h[1]", (0x20, 0, 0, 28)),
        ("A = data[20]", (0x20, 0, 0, 20)),
        ("A += 1", (0x04, 0, 0, 1)),
        ("A -= X", (0x1C, 0, 0, 0)),
        ("A *= 3", (0x24, 0, 0, 3)),
        ("A /= X", (0x3C, 0, 0, 0)),
        ("A %= 3", (0x94, 0, 0, 3)),
        ("A |= 3", (0x44, 0, 0, 3)),
        ("A &= ~3", (0x54, 0, 0, 0xFFFFFFFC)),
        ("A ^= X", (0xAC, 0, 0, 0)),
        ("A <<= 31", (0x64, 0, 0, 31)),
        ("A >>= X", (0x7C, 0, 0, 0)),
        ("return A", (0x16, 0, 0, 0)),
        ("return ALLOW", (0x06, 0, 0, 0x7FFF0000)),
        ("return SECCOMP_RET_ALLOW", (0x06, 0, 0, 0x7FFF0000)),
        ("return KILL", (0x06, 0, 0, 0)),
        ("return KILL_PROCESS", (0x06, 0, 0, 0x80000000)),
        ("return ERRNO", (0x06, 0, 0, 0x50000)),
        ("return ERRNO(EPERM)", (0x06, 0, 0, 0x50001)),
        ("return ERRNO(65535)", (0x06, 0, 0, 0x5FFFF)),
        ("return SECCOMP_RET_ERRNO | (EACCES & SECCOMP_RET_DATA)", (0x06, 0, 0, 0x5000D)),
        ("return TRAP(7)", (0x06, 0, 0, 0x30007)),
        ("return TRACE(1)", (0x06, 0, 0, 0x7FF00001)),
        ("return USER_NOTIF", (0x06, 0, 0, 0x7FC00000)),
        ("return LOG", (0x06, 0, 0, 0x7FFC0000)),
        ("return 0x12345678", (0x06, 0, 0, 0x12345678)),
        ("goto next", (0x05, 0, 0, 0)),
        ("goto +7", (0x05, 0, 0, 7)),
        ("jmp 7", (0x05, 0, 0, 7)),
        ("jump +4294967295", (0x05, 0, 0, 0xFFFFFFFF)),
        ("if (A == 5) goto 3", (0x15, 3, 0, 5)),
        ("if (A != 5) goto 3", (0x15, 0, 3, 5)),
        ("if (A > 5) goto 3 else goto 4", (0x25, 3, 4, 5)),
        ("if (A <= 5) goto 3 else goto 4", (0x25, 4, 3, 5)),
        ("if (A >= X) goto 3 else 4", (0x3D, 3, 4, 0)),
        ("if (A < X) jmp 3 else jmp next", (0x3D, 0, 3, 0)),
        ("if (A & 1 | 2) goto 1", (0x45, 1, 0, 3)),
        ("if (!(A & X)) goto 1", (0x4D, 0, 1, 0)),
        ("if !(!(A == 1)) goto 1", (0x15, 1, 0, 1)),
        ("A == 5 ? 1 : 2", (0x15, 1, 2, 5)),
        ("A != 5 ? next : 2", (0x15, 2, 0, 5)),
        ("!(A & 5) ? 1 : 2", (0x45, 2, 1, 5)),
        (".insn 0xffff, 1, 2, 3  # anything", (0xFFFF, 1, 2, 3)),
    ],
)
def test_sentences(text, fields):
    assert one(text) == fields
    assert one(f"\t{text}\r\n# nothing more\n\n") == fields


def test_words_of_a_big_endian_target():
    assert one("A = args[0]", byteorder="big") == (0x20, 0, 0, 20)
    assert one("A = args[0] >> 32", arch="s390x") == (0x20, 0, 0, 16)
    assert one(".arch s390x\nA = args[0]") == one(".byteorder big\nA = args[0]") == (0x20, 0, 0, 20)
    # What the text says wins over what the caller supposes, and .byteorder over .arch.
    assert assemble(".arch s390x\nA = args[0]", byteorder="little").byteorder == "big"
    for top in (".byteorder little\n.arch s390x\n", ".arch s390x\n.byteorder little\n"):
        assert assemble(top + "A = args[0]").byteorder == "little"


def test_calls_are_those_of_the_architecture_in_force():
    text = """
        A = arch
        if (A == ARCH_X86_64) goto native
        if (A != AUDIT_ARCH_I386) goto bad
        A = sys_number
        if (A == open) goto bad
        return ALLOW
    native:
        A = sys_number
        if (A == open) goto bad
        if (A == x32.open) goto bad
        if (A == x32_read) goto bad
        if (A == i386.socketcall) goto bad
        return ERRNO(EDEADLK)
    bad:
        return KILL_PROCESS
    """
    program = assemble(text, arch="aarch64")
    assert [line.k for line in program if line.code == 0x15] == [0xC000003E, 0x40000003, 5, 2, 0x40000002, 0x40000000, 102]
    shown = disassemble(program)
    assert shown.count("(A == open)") == 2
    assert "(A == x32.open)" in shown
    assert "ERRNO(EDEADLK)" in shown
    assert one("A = read", arch="aarch64") == (0x00, 0, 0, 63)
    assert one("A = amd64.read", arch="aarch64") == (0x00, 0, 0, 0)


def test_where_two_architectures_meet_calls_are_numbers():
    text = "A = arch\nif (A == ARCH_X86_64) goto both\nif (A == ARCH_I386) goto both\nreturn KILL\nboth: A = sys_number\nif (A == 5) goto +1\nreturn ERRNO(35)\nreturn ERRNO(1)\n"
    shown = disassemble(assemble(text))
    assert "A == 5" in shown
    assert "ERRNO(35)" in shown
    assert "ERRNO(EPERM)" in shown


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_call_of_every_architecture_reads_back(name):
    one_arch = arch(name)
    lines = [Instruction(0x20, 0, 0, 4), Instruction(0x15, 1, 0, one_arch.token), Instruction(0x06, 0, 0, 0), Instruction(0x20, 0, 0, 0)]
    lines += [Instruction(0x15, 0, 0, number) for number in sorted(one_arch.calls().values())]
    program = Program([*lines, Instruction(0x06, 0, 0, codes.SECCOMP_RET_ALLOW)], one_arch.byteorder)
    text = disassemble(program)
    assert assemble(text) == program
    named = sum(f"A == {'x32.' * (name == 'x32')}{call})" in text for call in one_arch.calls())
    assert named >= len(set(one_arch.calls().values()))


def test_constants_by_name():
    assert one("A = AF_INET6", arch="x86_64") == (0x00, 0, 0, 10)
    assert one("A &= O_ACCMODE | O_CREAT", arch="x86_64")[3] == 0o103


def faults(text, **options):
    with pytest.raises(FilterError) as caught:
        assemble(text, file="f.asm", **options)
    return caught.value.diagnostics


def test_all_faults_are_reported_each_with_its_place():
    found = faults("A = foo\n\n  if (A = 3) goto x\nx: goto nowhere\nA = args[6]\nx:\nreturn ALLOW now\nreturn ALOW")
    assert [str(fault.span) for fault in found] == [
        "f.asm:1:5",
        "f.asm:3:9",
        "f.asm:4:9",
        "f.asm:5:10",
        "f.asm:6:1",
        "f.asm:7:14",
        "f.asm:8:8",
    ]
    assert str(found[0]).splitlines()[:3] == [
        "f.asm:1:5: error: 'foo' is no call of x86_64, no constant and no architecture",
        "    A = foo",
        "        ^^^",
    ]
    assert "did you mean 'ALLOW'?" in str(found[-1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A = read2", "did you mean 'read'"),
        ("A = amd64.raed", "did you mean 'read'"),
        ("A = vax.read", "unknown architecture"),
        ("A = X + 1", "unexpected '+'"),
        ("A = A + 1", "A += value"),
        ("X += 1", "arithmetic is on A"),
        ("X = args[0]", "A = args"),
        ("A = args[0] >> 16", "the high one"),
        ("A = args[read]", "only a number"),
        ("mem[0] = 1", "load A first"),
        ("A = 0x100000000", "does not fit in 32 bits"),
        ("A = 1 / 0", "division by zero"),
        ("A = 1 << 64", "shift by 64"),
        ("A = 089", "is not a number"),
        ("A = " + "9" * 10_000, "is not a number"),
        ("A = " + "(" * 2000, "nested"),
        ("A = " + "-" * 5000 + "1", "nested"),
        ("A = 1" + "+1" * 500, "operators"),
        ("if " + "(" * 2000, "nested"),
        ("if (A == 1 && A == 2) goto 1", "cannot skip by number"),
        ("if (X == 1) goto 1", "expected A"),
        ("if A == 1 goto 1", "if (A == value) goto label"),
        ("if (A == 1) return ALLOW", "expected 'goto'"),
        ("A == 1 ? x", "expected ':'"),
        ("goto A", "no label 'A'"),
        ("goto +x", "+n to skip n"),
        ("goto 4294967296", "at most 4294967295"),
        ("next: A = 1", "always means"),
        ("return X", "then return A"),
        ("return ERRNO(70000)", "0 to 65535"),
        ("retrun ALLOW", "did you mean 'return'"),
        ("here: A = 1\ngoto here", "only go forward"),
        ("goto ther\nthere: A = 1", "did you mean 'there'"),
        (".insn 0x10000, 0, 0, 0", "16 bits"),
        (".insn 0, 0, 0", "expected ','"),
        (".arch vax", "unknown architecture"),
        (".byteorder middle", "neither"),
        ("A = 1\n.arch x86", "top of the text"),
        ("A = $", "'$' has no meaning"),
        ("A", "expected an assignment"),
        ("A = ", "the end of the line"),
        ("\x7fELF\x02\x01", "no meaning"),
    ],
)
def test_faults(text, said):
    shown = "\n".join(map(str, faults(text, arch="x86_64")))
    assert said in shown
    assert len(shown) < 2000


def test_a_label_out_of_reach_gets_a_goto():
    reach = lambda skipped: assemble("if (A == 1) goto far\n" + "A = 1\n" * skipped + "far: return A")  # noqa: E731
    assert reach(255)[0] == (0x15, 255, 0, 1)
    assert reach(256).instructions[:2] == ((0x15, 0, 1, 1), (0x05, 0, 0, 256))
    assert assemble("goto far\n" + "A = 1\n" * 4000 + "far: return A")[0].k == 4000


def test_very_many_faults_are_counted():
    found = faults("?\n" * 5000)
    assert len(found) == 101
    assert "4900 more" in found[-1].message


def test_a_very_long_line_is_cut_in_the_message():
    (fault,) = faults("A = " + "z" * 1_000_000)
    assert len(str(fault)) < 1000
    (fault,) = faults("A = 1 " + " " * 1_000_000 + "$")
    assert len(str(fault)) < 1000


def test_each_instruction_knows_its_line():
    assembly = read_assembly("# head\nA = arch\n\nlabel: return ALLOW  # done", file="f.asm")
    assert [str(span) for span in assembly.spans] == ["f.asm:2:1", "f.asm:4:8"]
    finding = validate(read_assembly("\n  A /= 0\nreturn A").program)[0]
    placed = finding.diagnostic(read_assembly("\n  A /= 0\nreturn A", file="f.asm").spans[finding.instruction or 0])
    assert str(placed).splitlines()[:3] == ["f.asm:2:3: error: instruction 0: division by the constant 0", "      A /= 0", "      ^^^^^^"]


def test_unknown_arguments_are_the_callers_fault():
    with pytest.raises(UsageError):
        assemble("A = 1", arch="vax")
    with pytest.raises(UsageError):
        disassemble(Program([]), "vax")


def test_an_empty_program():
    assert len(assemble("# nothing\n")) == 0
    assert disassemble(Program([], "little")) == ""
    assert disassemble(Program([], "big")) == ".byteorder big\n"


@pytest.mark.slow
def test_diamonds_do_not_multiply():
    """A chain of diamonds has exponentially many paths; 4096 instructions of it are read and written in one pass."""
    diamond = [Instruction(0x45, 0, 1, 1), Instruction(0x04, 0, 0, 1), Instruction(0x20, 0, 0, 4), Instruction(0x15, 1, 2, 0xC000003E)]
    program = Program([*diamond * 1023, *[Instruction(0x06, 0, 0, 0)] * 4], "little")
    assert len(program) == codes.BPF_MAXINSNS
    assert assemble(disassemble(program)) == program


@pytest.mark.slow
def test_every_opcode_with_every_kind_of_field_reads_back():
    fields = [(0, 0, 0), (0, 0, 1), (0, 0, 0xFFFFFFFF), (1, 0, 0), (0, 1, 0), (1, 2, 3), (255, 255, 0x80000000)]
    for byteorder in ("little", "big"):
        program = Program([(code, *rest) for code in range(0x120) for rest in fields], byteorder)
        assert assemble(disassemble(program)) == program
    # Only what has no sentence is raw: an opcode that does not exist, or a value that the instruction does not use.
    raw = [line for line in disassemble(Program([(code, 0, 0, 0) for code in range(0x100)])).splitlines() if ".insn" in line]
    sentences = {0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x16, 0x20, 0x60, 0x61, 0x80, 0x81, 0x84, 0x87}
    sentences |= {0x04 + 0x10 * i | x for i in (0, 1, 2, 3, 4, 5, 6, 7, 9, 10) for x in (0, 8)}
    sentences |= {0x15 + 0x10 * i | x for i in range(4) for x in (0, 8)}
    assert {int(line.split()[1].rstrip(","), 16) for line in raw} == set(range(0x100)) - sentences


@pytest.mark.parametrize("distance", range(250, 260))
@pytest.mark.parametrize(
    "branches", ["goto far", "goto next else goto far", "goto far else goto far", "goto far else goto near", "goto near else goto far"]
)
def test_far_jumps_mean_what_is_written(branches, distance):
    """Around the reach of a condition: whatever is put in, the program goes where the text says."""
    text = f"A = sys_number\nif (A == 7) {branches}\nreturn 1\nnear: return 2\n" + "A = 0\n" * (distance - 2) + "return 3\nfar: return 4\n"
    program = assemble(text)
    assert not validate(program)
    places = {"far": 4, "near": 2, "next": 1}
    taken, _, other = branches.replace("goto ", "").partition(" else ")
    assert evaluate(program, 0, 7) == places[taken]
    assert evaluate(program, 0, 8) == places[other or "next"]


def test_gotos_put_in_can_push_other_targets_out_of_reach():
    lines = [f"if (A == {number}) goto end" for number in range(300)]
    program = assemble("A = sys_number\n" + "\n".join(lines) + "\nreturn 1\nend: return 2\n")
    assert not validate(program)
    assert all(evaluate(program, 0, number) == 2 for number in range(300))
    assert evaluate(program, 0, 300) == 1


def test_numbers_of_lines_count_what_is_written():
    program = assemble("if (A == 1) goto far\ngoto +1\nreturn 1\nreturn 2\n" + "A = 0\n" * 300 + "far: return 3\n")
    assert program.instructions[:2] == ((0x15, 0, 1, 1), (0x05, 0, 0, 303))
    assert evaluate(program, 0, 0) == 2


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("A == 1 || A == 2 || A == 9", lambda a: a in (1, 2, 9)),
        ("A > 1 && A < 5", lambda a: 1 < a < 5),
        ("!(A == 1 || A == 2)", lambda a: a not in (1, 2)),
        ("A == 1 || A > 3 && A != 6", lambda a: a == 1 or (a > 3 and a != 6)),
        ("(A == 1 || A > 3) && !(A & 4)", lambda a: (a == 1 or a > 3) and not a & 4),
        ("!(!(A == 1) && (A <= 6 || A & 8))", lambda a: not (a != 1 and (a <= 6 or a & 8))),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        "if ({}) goto yes\nreturn 0",
        "if ({}) goto yes else goto no",
        "if ({}) goto next else goto no\nreturn 1",
        "({}) ? yes : next\nreturn 0",
    ],
)
def test_conditions_of_several_comparisons(condition, holds, form):
    program = assemble("A = sys_number\n" + form.format(condition) + "\nyes: return 1\nno: return 0\n")
    for number in range(16):
        assert evaluate(program, 0, number) == (1 if holds(number) else 0)


@pytest.mark.slow
def test_a_guess_is_made_only_for_faults_that_are_shown(monkeypatch):
    """Twenty thousand misspelt lines took minutes: each searched all names for the nearest one."""
    from seclude.bpf import assembler

    asked = []

    def nearest(name, known):
        asked.append(name)
        return ""

    monkeypatch.setattr(assembler, "nearest", nearest)
    with pytest.raises(FilterError, match="and 19900 more faults"):
        assemble("A = AF_INTE\n" * 20_000)
    assert len(asked) == 100
