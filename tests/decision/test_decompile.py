"""Any filter as a policy: the circle closes, the text is what a person would write, and what cannot be said is named."""

import random

import pytest

from bench_support import docker
from decision_support import ARM, I386, X86_64, random_lowered, random_program
from seclude.bpf import assemble
from seclude.decision import calls_of, from_policy, from_program, restrict, shadowed
from seclude.decision.clauses import clauses, spell
from seclude.decision.decompile import NoSpellingError, decompile
from seclude.decision.policy import condition
from seclude.decision.read import from_instructions
from seclude.errors import BudgetError
from seclude.policy import PRESETS, load, parse, preset_text
from seclude.policy.parser import parse_condition


def circle(decision):
    """Decompiled, printed, read and compiled again: the same object. Returns the text."""
    policy = decompile(decision)
    text = str(policy)
    again = parse(text)
    assert again == policy
    assert from_policy(again) is decision
    assert not shadowed(again)
    assert max(map(len, text.splitlines())) < 2000
    return text


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("native", ["x86_64", "aarch64", "s390x", "mips", "riscv64"])
def test_presets_come_back(name, native):
    circle(from_policy(parse(preset_text(name), name, native=native)))


WRITTEN = [
    "allow socket(domain in {AF_UNIX, AF_INET} and type & 0xf == SOCK_STREAM)",
    "allow clone(flags & (CLONE_NEWNS | CLONE_NEWUSER) == 0)",
    "allow openat(flags & (O_ACCMODE | O_CREAT | O_TRUNC) == O_RDONLY)",
    "allow ioctl(request == SIOCGIFCONF or request in 0x5400..0x54ff)",
    "allow kill(pid > 0 or sig in {0, SIGTERM})",
    "allow fchmodat(dirfd == AT_FDCWD and mode & 0o6000 == 0)",
    "allow write(fd in {1, 2} and count <= 4096)",
    "allow mmap(addr == NULL and prot & PROT_EXEC == 0)",
    "allow prctl(option == PR_SET_NAME or arg2 == 5)",
    "allow write(buf:u64 & 0xfff != 0)",
    "allow lseek(offset < 0)",
    "allow getpid(ip in 100..200)",
    "allow socket(domain not in {AF_ALG, AF_VSOCK})",
    "allow ioctl(request & 0xff != 5 and request > 1000)",
    "allow socket(domain in {AF_ALG, AF_VSOCK} and domain:u64 >= 0x100000000)",
    "allow personality(persona in {PER_LINUX, PER_LINUX32, 0xffffffff})",
    "allow 5000(arg0 & 3 == 1)",
]


@pytest.mark.parametrize("rule", WRITTEN)
def test_conditions_come_back_as_they_were_written(rule):
    d = from_policy(parse(f"default errno(EPERM)\narch x86_64\n{rule}\n"))
    assert circle(d).splitlines()[-1] == rule


def test_several_answers_to_one_call():
    text = circle(
        from_policy(
            parse(
                "default errno(EPERM)\narch x86_64\nlog lseek(offset < 0)\nerrno(ENOSYS) lseek(whence > 4)\ntrap(7) lseek(whence == 1)\nallow lseek(fd == 0)"
            )
        )
    )
    for part in ("log lseek(offset < 0)", "errno(ENOSYS) lseek(", "trap(7) lseek(", "allow lseek("):
        assert part in text


@pytest.mark.parametrize(
    "header",
    [
        "default allow\narch x86_64\nbadarch errno(ENOSYS)\nx32 errno(EPERM)\nunknown log\nnegative trap(3)\nkill ptrace\n",
        "default kill_thread\narch x86_64, x86, x32\nallow read\non x32: allow write, 0x40000400\non x86: 600\n".replace(
            "on x86: 600", "on x86: errno(EPERM) 600"
        ),
        "default trace(3)\narch x32\nallow read\n",
        "default errno(ENOSYS)\narch mips\nallow read\nerrno(EPERM) write\n",
        "default errno(0)\narch x86_64\nallow read\nerrno(4095) write\nerrno(300) open\n",
        "default notify\narch aarch64, arm\nallow read\n",
        "default errno(EPERM)\narch x86, x86_64\nallow socketcall(call == 1)\nallow ipc\n",
        "default errno(ENOSYS)\narch x86\nerrno(EPERM) socketcall\n",
        "default kill\narch x86_64\nallow 500..501\n".replace("500..501", "500, 501(arg0 == 3)"),
        "default allow\narch x86_64, x86\nbadarch allow\nx32 allow\nunknown allow\nnegative allow\non x86: allow socketcall, ipc\n",
    ],
)
def test_header_lines_come_back(header):
    d = from_policy(parse(header))
    circle(d)


def test_a_filter_that_answers_every_call_alike():
    text = circle(from_program(assemble("return ALLOW")))
    assert text.startswith("default  allow\n")


def test_docker_comes_back():
    d = from_policy(docker())
    text = circle(d)
    assert "arch     x86_64, x86, x32\nbadarch  kill_thread\n" in text
    assert text.count("\n") < 120


def test_a_long_list_of_values():
    rnd = random.Random(5)
    values = sorted(rnd.sample(range(1 << 32), 500))
    d = from_policy(parse(f"default errno(EPERM)\narch x86_64\nallow ioctl(request in {{{', '.join(map(str, values))}}})\n"))
    policy = decompile(d)
    assert from_policy(parse(str(policy))) is d


# ── what has no spelling ────────────────────────────────────────────────────────────────────────────────────────────

CHECKED = "A = arch\nif (A != ARCH_X86_64) goto bad\n{}\nbad: return KILL_PROCESS\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CHECKED.format("A = sys_number\nif (A != 41) goto bad\nA = args[0]\nA &= 0xfff\nX = A\nA = args[1]\nA &= 0xfff\nif (A != X) goto bad\nreturn ALLOW"),
         r"x86_64: socket → .*two arguments"),
        (CHECKED.format("A = sys_number\nif (A != 41) goto bad\nreturn 0x12340000"), r"x86_64: socket → 0x12340000: no kernel has this action"),
        (CHECKED.format("A = sys_number\nif (A > 0x80000000) goto bad\nreturn ALLOW"), r"no table names get one answer"),
        ("A = sys_number\nif (A == 0) goto a\nreturn KILL_PROCESS\na: return ALLOW", "any architecture.*badarch"),
        ("A = arch\nif (A == 7) goto a\nreturn KILL_PROCESS\na: return ALLOW", "architecture 0x7.*→ ALLOW.*badarch"),
        ("return 0x12340000", "any architecture: 0..4294967295 → 0x12340000: no kernel has this action"),
        (CHECKED.format("A = sys_number\nA &= 1\nif (A == 0) goto bad\nreturn ALLOW"), "by single bits|calls without a name|no table names"),
        ("A = arch\nA &= 1\nif (A == 0) goto a\nreturn KILL_PROCESS\na: return ALLOW", "by single bits of their token"),
        ("A = arch\nif (A == ARCH_X86_64) goto a\nif (A == ARCH_S390X) goto a\nreturn KILL_PROCESS\na: return ALLOW", "one byte order"),
        ("A = arch\nif (A == ARCH_X86_64) goto a\nif (A == ARCH_I386) goto b\nreturn KILL_PROCESS\na: return ALLOW\nb: return LOG", "'negative'"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_named(text, message):
    with pytest.raises(NoSpellingError, match=message):
        decompile(from_program(assemble(text)))


def test_one_architecture_of_a_filter_that_never_looks():
    d = from_program(assemble("A = sys_number\nif (A == 0) goto a\nif (A == 1) goto a\nreturn ERRNO(EPERM)\na: return ALLOW"))
    text = circle(restrict(d, calls_of("x86_64")))
    assert "allow read, write" in text
    assert "x32      kill_process" in text


# ── clauses and conditions ──────────────────────────────────────────────────────────────────────────────────────────


def test_clauses_cover_everything_once():
    d = from_policy(parse("default errno(EPERM)\narch x86_64\nallow read, socket(domain == AF_UNIX)\nkill socket(type == 3)"))
    shown = [str(clause) for clause in clauses(d)]
    assert "x86_64: read → ALLOW" in shown
    assert "x86_64: socket(domain == AF_UNIX) → ALLOW" in shown
    assert "x86_64: socket(domain != AF_UNIX and type == SOCK_RAW) → KILL_PROCESS" in shown
    assert "architectures 0xc000003f..0xffffffff: 0..4294967295 → KILL_PROCESS" in shown
    assert "x32: 1073741824..2147483647 → KILL_PROCESS" in shown
    assert "x86_64: 2147483648..4294967295 → KILL_PROCESS" in shown


def test_clauses_of_what_is_too_fine_to_list():
    d = from_program(assemble("A = sys_number\nA &= 1\nif (A == 0) goto a\nreturn KILL_PROCESS\na: return ALLOW"))
    with pytest.raises(BudgetError, match="single bits"):
        list(clauses(d))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(70))
def test_spelled_conditions_mean_what_they_spell(seed):
    # Every predicate over raw registers comes back as a condition with exactly that meaning.
    from decision_support import FIELDS, random_predicate
    from seclude.abi import arch
    from seclude.decision.nodes import END
    from seclude.policy.conditions import Scope, lower_condition
    from seclude.policy.printer import print_condition

    rnd = random.Random(seed)
    test = condition(random_predicate(rnd, 2, FIELDS[:5]))
    if test.level == END:
        return
    name = rnd.choice(("socket", "fchmod", "write", "openat", "ioctl", ""))
    where = arch(rnd.choice(("x86_64", "x86", "aarch64", "arm", "mips")))
    try:
        spelled = spell(test, where, name)
    except BudgetError:
        return
    text = print_condition(spelled)
    scope = Scope(where, name)
    assert condition(lower_condition(spelled, scope)) is test
    assert condition(lower_condition(parse_condition(text), scope)) is test


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_policies_come_back(seed):
    rnd = random.Random(seed)
    d = from_policy(random_lowered(rnd, tokens=rnd.choice([(X86_64,), (X86_64, I386), (ARM,)]), calls=12))
    try:
        policy = decompile(d)
    except (NoSpellingError, BudgetError):
        return
    assert from_policy(parse(str(policy))) is d


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_come_back_or_are_refused(seed):
    rnd = random.Random(seed)
    d = from_instructions(random_program(rnd, rnd.randrange(3, 30), heavy=False), "little")
    d = restrict(d, calls_of(X86_64))
    try:
        policy = decompile(d)
    except (NoSpellingError, BudgetError):
        return
    assert from_policy(parse(str(policy))) is d


def test_presets_by_name_come_back():
    d = from_policy(load("compute"))
    assert from_policy(decompile(d)) is d
