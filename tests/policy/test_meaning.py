"""What rules mean, paragraph by paragraph of the language's description; each case by the rules and by the lowered form."""

import pytest

from policy_support import both
from seclude import abi
from seclude.abi.constants import constant, errno_number
from seclude.errors import PolicyError
from seclude.policy import evaluate, lower, parse

ALLOW, KILL, THREAD, LOG, NOTIFY = 0x7FFF0000, 0x80000000, 0, 0x7FFC0000, 0x7FC00000
HIGH = 0xDEADBEEF << 32


def outcome(text, arch, name, *args, ip=0):
    """The action of one call under a policy whose default is kill, by both ways."""
    policy = parse(text if "default" in text else f"default kill\n{text}", native="x86_64")
    number = name if isinstance(name, int) else abi.arch(arch).number(name)
    assert number is not None
    return both(policy, lower(policy), arch, number, args, ip)


def allowed(condition, call, *args, arch="x86_64", ip=0):
    return outcome(f"arch {arch}\nallow {call}({condition})", arch, call, *args, ip=ip) == ALLOW


# ── Meaning: in order, the first that holds decides, a false one falls through ──────────────────────────────────────


def test_the_first_rule_that_holds_decides():
    text = "arch x86_64\nerrno(1) openat(flags == 1)\nlog openat(flags in {1, 2})\nallow openat(flags <= 3)\n"
    assert [outcome(text, "x86_64", "openat", 0, 0, flags) for flags in range(5)] == [ALLOW, 0x50001, LOG, ALLOW, KILL]


def test_actions_are_the_kernels_words():
    text = "arch x86_64\ndefault allow\nkill read\nkill_thread write\ntrap(65535) open\nerrno(4095) close\nnotify stat\ntrace(7) fstat\nlog lstat\ntrap poll\n"
    calls = ("read", "write", "open", "close", "stat", "fstat", "lstat", "poll", "mmap")
    words = [KILL, THREAD, 0x3FFFF, 0x50FFF, NOTIFY, 0x7FF00007, LOG, 0x30000, ALLOW]
    assert [outcome(text, "x86_64", call) for call in calls] == words


def test_the_outcome_names_its_rule_and_place():
    policy = parse("default errno(EPERM)\narch x86_64\n\nallow read,\n  write\nunknown log\n", "own.seclude")
    ruled = evaluate(policy, "x86_64", 1)
    assert (ruled.reason, ruled.place, str(ruled.rule)) == ("rule", "own.seclude:4", "allow read, write")
    assert [evaluate(policy, "x86_64", nr).place for nr in (2, 999)] == ["own.seclude:1", "own.seclude:6"]
    assert evaluate(policy, "x86_64", 2).reason == "default"
    assert evaluate(policy, "x86_64", 999).reason == "unknown"
    assert evaluate(policy, "x86_64", 1 << 31).reason == "negative"
    assert evaluate(policy, "x86_64", 1 << 31).place == ""
    assert evaluate(policy, "x86_64", 1 << 30).reason == "x32"
    assert evaluate(policy, "arm", 1).reason == "badarch"
    assert evaluate(policy, 0x1234, 1).reason == "badarch"


# ── Conditions: Python's grammar and precedence ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("condition", "flags", "mode", "holds"),
    [
        ("flags == 1 or flags == 2 and mode == 3", 1, 0, True),
        ("flags == 1 or flags == 2 and mode == 3", 2, 0, False),
        ("(flags == 1 or flags == 2) and mode == 3", 1, 0, False),
        ("not flags == 1 and mode == 3", 2, 3, True),
        ("not (flags == 1 and mode == 3)", 1, 4, True),
        ("not not flags", 1, 0, True),
        ("flags & 3 == 2", 6, 0, True),  # & before ==, unlike C
        ("flags & 1 | 4 == 5", 1, 0, True),  # & before |
        ("flags & 1 << 2 == 4", 4, 0, True),  # << before &
        ("flags == 1 | 2", 3, 0, True),
        ("flags == ~0", 0xFFFFFFFF, 0, True),
        ("~flags & 5 == 0", 5, 0, True),
        ("~flags & 5 == 0", 4, 0, False),
        ("1 <= flags <= 3", 3, 0, True),
        ("1 <= flags < 3", 3, 0, False),
        ("1 < flags != 5 >= 2 > mode", 7, 1, None),
        ("4 == flags", 4, 0, True),
        ("3 > flags", 2, 0, True),
        ("3 > flags", 3, 0, False),
        ("flags in {1, 2 | 4, O_RDWR}", 6, 0, True),
        ("flags not in {1, 2}", 3, 0, True),
        ("flags in 2..4", 4, 0, True),
        ("flags in 2..4", 5, 0, False),
        ("flags not in 2..4", 5, 0, True),
        ("flags & O_CREAT", 64, 0, True),  # a number alone holds where it is not zero
        ("not flags & O_CREAT", 1, 0, True),
        ("flags", 0, 0, False),
        ("arg2 == 5 and arg3 == 7", 5, 7, True),
        ("dirfd == AT_FDCWD", 0, 0, False),
        ("dfd == 0", 0, 0, True),  # the kernel's name for dirfd
    ],
)
def test_conditions_follow_pythons_precedence(condition, flags, mode, holds):
    if holds is None:
        with pytest.raises(PolicyError, match="compares two constants"):
            allowed(condition, "openat", 0, 0, flags, mode)
    else:
        assert allowed(condition, "openat", 0, 0, flags, mode) is holds


# ── Types: as the kernel reads them ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("condition", "call", "args", "holds"),
    [
        # int: 32 bits, whatever the high half says
        ("domain == 2", "socket", (2 | HIGH,), True),
        ("domain != 2", "socket", (2 | HIGH,), False),
        ("domain in {2, 10}", "socket", (10 | HIGH,), True),
        ("domain:u64 == 2", "socket", (2 | HIGH,), False),
        ("arg0:u64 == 2", "socket", (2,), True),
        ("domain == -1", "socket", (0xFFFFFFFF,), True),
        ("domain == 0xffffffff", "socket", (2**64 - 1,), True),
        ("domain < 0", "socket", (0x80000000,), True),
        ("domain < 0", "socket", (0x7FFFFFFF,), False),
        ("domain >= -2", "socket", (0xFFFFFFFE | HIGH,), True),
        ("domain in 0..0x7fffffff", "socket", (0xFFFFFFFF,), False),
        ("domain in 0..0xffffffff", "socket", (0xFFFFFFFF,), True),  # unsigned without a negative end
        ("domain in -1..1", "socket", (0xFFFFFFFF,), True),
        ("domain in -1..1", "socket", (2,), False),
        ("domain in -3..-2", "socket", (0xFFFFFFFE,), True),
        ("domain in -3..-2", "socket", (0xFFFFFFFF,), False),
        # unsigned int
        ("request > 0x7fffffff", "ioctl", (0, 0x80000000), True),
        # umode_t: 16 bits
        ("mode & 0o4000 == 0", "fchmod", (0, 0x10000 | 0o4755), False),
        ("mode == 0o755", "fchmod", (0, 0x10000 | 0o755), True),
        ("mode > 0x7fff", "fchmod", (0, 0x8000), True),
        # 64 bits
        ("length == 0x100000000", "munmap", (0, 1 << 32), True),
        ("length == 0", "munmap", (0, 1 << 32), False),
        ("offset < 0", "lseek", (0, 1 << 63), True),
        ("offset < 0", "lseek", (0, 1 << 31), False),
        ("offset in -1..0", "lseek", (0, 2**64 - 1), True),
        # pointers
        ("pathname == NULL", "openat", (0, 0), True),
        ("pathname != NULL", "openat", (0, 1 << 40), True),
        ("pathname == 0", "openat", (0, 1 << 40), False),
        ("pathname", "openat", (0, 1 << 40), True),
        ("pathname:u64 in 0..0xffff", "openat", (0, 77), True),
        # mmap: the descriptor comes as unsigned long and is read as int
        ("fd == -1", "mmap", (0, 0, 0, 0, 0xFFFFFFFF), True),
        ("fd < 0", "mmap", (0, 0, 0, 0, 0xFFFFFFFF), True),
        # personality asks with all ones
        ("persona == 0xffffffff", "personality", (2**64 - 1,), True),
        ("persona:u64 == 0xffffffff", "personality", (2**64 - 1,), False),
    ],
)
def test_parameters_compare_as_the_kernel_reads_them(condition, call, args, holds):
    assert allowed(condition, call, *args) is holds


def test_split_values_are_joined_by_name_and_apart_by_register():
    for arch, low, high in (("x86", 3, 4), ("arm", 4, 5), ("mips", 5, 4), ("ppc", 5, 4)):
        args = [0, 0, 0, 0, 0, 0]
        args[low], args[high] = 0x9ABCDEF0, 0x12345678
        assert allowed("offset == 0x123456789abcdef0", "pread64", *args, arch=arch), arch
        assert not allowed("offset == 0x9abcdef0", "pread64", *args, arch=arch)
        assert allowed(f"arg{low} == 0x9abcdef0 and arg{high} == 0x12345678", "pread64", *args, arch=arch)
        args[high] = 0x80000000
        assert allowed("offset < 0", "pread64", *args, arch=arch)
        assert allowed(f"arg{high} > 0", "pread64", *args, arch=arch)  # one register alone has no sign
    assert allowed("offset == 5", "pread64", 0, 0, 0, 5)


def test_constants_and_errno_differ_by_architecture():
    text = "default errno(ENOSYS)\narch x86_64\nallow socket(type == SOCK_STREAM)\n"
    assert outcome(text, "x86_64", "socket", 1, 1) == ALLOW
    mips = text.replace("x86_64", "mips")
    assert outcome(mips, "mips", "socket", 1, constant("SOCK_STREAM", "mips")) == ALLOW
    assert constant("SOCK_STREAM", "mips") == 2
    assert outcome(mips, "mips", "socket", 1, 1) == 0x50000 | 89
    assert errno_number("ENOSYS", "mips") == 89


def test_a_call_without_prototype_has_plain_registers():
    text = "arch x86_64\nallow 1000(arg5 == 0x100000000 and arg0:u64 == 1)\n"
    assert outcome(text, "x86_64", 1000, 1, 0, 0, 0, 0, 1 << 32) == ALLOW
    assert outcome(text, "x86_64", 1000, 1, 0, 0, 0, 0, 1) == KILL


def test_literals_too_wide_somewhere_are_noted_and_everywhere_refused():
    policy = parse("default kill\narch x86_64, x86\nallow munmap(length == 0x100000001)\n")
    assert [(n.severity, "(on x86)" in n.message) for n in policy.notes] == [("note", True)]
    number = abi.arch("x86").number("munmap")
    assert number is not None
    assert both(policy, lower(policy), "x86", number, (0, 1)) == ALLOW  # modulo 2**32
    with pytest.raises(PolicyError, match="does not fit an unsigned parameter of 32 bits"):
        parse("default kill\narch x86\nallow munmap(length == 0x100000001)\n")


def test_the_instruction_pointer_is_an_operand():
    assert allowed("ip in 0x7f0000000000..0x7fffffffffff", "read", ip=0x7F1234567890)
    assert not allowed("ip == 0x12345678", "read", ip=1 << 32 | 0x12345678)
    assert allowed("ip == 0x12345678", "read", arch="x86", ip=0x12345678)
    assert allowed("ip:u64 == 0x12345678", "read", arch="x86", ip=0x12345678)


# ── Architectures ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_numbers_are_all_decided():
    text = "default errno(EPERM)\narch native, compat\nallow read\n"
    assert outcome(text, "x86_64", "read") == ALLOW
    assert outcome(text, "x86", "read") == ALLOW
    assert outcome(text, "x86_64", "write") == 0x50001
    assert outcome(text, "x86_64", 400) == 0x50000 | 38  # a hole between numbers that the table names
    assert outcome(text, "x86_64", 0x3FFFFFFF) == 0x50000 | 38
    assert outcome(text, "x86_64", 0x40000000) == KILL
    assert outcome(text, "x86_64", 0x7FFFFFFF) == KILL
    assert outcome(text, "x86", 0x7FFFFFFF) == 0x50000 | 38
    assert outcome(text, "x86", 0x80000000) == KILL
    assert outcome(text, "x86_64", 0xFFFFFFFF) == KILL
    assert outcome(text, "arm", "read") == KILL
    assert outcome(text, "aarch64", 0xFFFFFFFF) == KILL


@pytest.mark.parametrize(
    ("default", "unknown"),
    [
        ("kill", KILL),
        ("kill_thread", KILL),
        ("allow", 0x50026),
        ("log", 0x50026),
        ("trap(1)", 0x50026),
        ("errno(1)", 0x50026),
        ("notify", 0x50026),
    ],
)
def test_unknown_numbers_are_killed_where_the_default_kills(default, unknown):
    assert outcome(f"default {default}\narch x86_64\n", "x86_64", 500) == unknown


def test_header_lines_decide_what_no_rule_can():
    text = "default allow\narch x86_64\nunknown trap(5)\nnegative log\nx32 errno(9)\nbadarch kill_thread\n"
    assert outcome(text, "x86_64", 500) == 0x30005
    assert outcome(text, "x86_64", 1 << 31) == LOG
    assert outcome(text, "x86_64", 1 << 30 | 1) == 0x50009
    assert outcome(text, "x86", 1) == THREAD


def test_x32_has_its_own_numbers_when_it_is_listed():
    text = "default errno(EPERM)\narch x86_64, x32\nallow execve\non x32: log 0x40000300\n"
    assert outcome(text, "x86_64", 59) == ALLOW
    assert outcome(text, "x32", 0x40000000 | 520) == ALLOW
    assert outcome(text, "x32", 0x40000000 | 59) == 0x50026  # renumbered: 59 with the bit is no call of x32
    assert outcome(text, "x86_64", 520) == 0x50026  # and 520 without it none of x86_64
    assert outcome(text, "x32", 0x40000000 | 1) == 0x50001
    assert outcome(text, "x32", 0x40000300) == LOG
    alone = "default errno(EPERM)\narch x32\nallow execve\n"
    assert outcome(alone, "x32", 0x40000000 | 520) == ALLOW
    assert outcome(alone, "x86_64", 59) == KILL  # x86_64 is not listed: badarch


def test_multiplexers_answer_enosys_unless_listed():
    for default in ("allow", "errno(EPERM)", "kill"):
        text = f"default {default}\narch x86\n"
        assert outcome(text, "x86", "socketcall", 1) == 0x50026
        assert outcome(text, "x86", "ipc", 1) == 0x50026
    listed = "default errno(EPERM)\narch x86\nallow socketcall(call == SYS_SOCKETPAIR)\n"
    assert outcome(listed, "x86", "socketcall", 8) == ALLOW
    assert outcome(listed, "x86", "socketcall", 1) == 0x50001
    assert outcome("default kill\narch s390x\nallow @network-io\n", "s390x", "socketcall") == ALLOW
    assert outcome("default allow\narch s390x\n", "s390x", "ipc") == 0x50026


def test_native_and_compat_are_resolved_when_a_policy_is_read():
    def names(text, native):
        return [arch.name for arch in parse(f"default kill\n{text}", native=native).architectures]

    assert names("", "aarch64") == ["aarch64"]
    assert names("arch native, compat\n", "x86_64") == ["x86_64", "x86"]
    assert names("arch native, compat\n", "mips64") == ["mips64", "mips", "mips64n32"]
    assert names("arch native, compat\n", "riscv64") == ["riscv64"]
    assert names("arch compat, aarch64\n", "x86_64") == ["aarch64", "arm"]
    assert names("arch x86_64, compat, x32\n", "arm") == ["x86_64", "x32", "x86"]
    assert names("arch native, x86\n", "x86_64") == ["x86_64", "x86"]
    assert parse("default kill\narch native", native="arm") != parse("default kill\narch native", native="x86")
    assert parse("default kill\narch arm", native="arm") == parse("default kill\narch arm", native="x86")
    assert parse("default kill\n").architectures == (abi.native(),)


def test_rules_can_be_limited_to_architectures():
    text = "arch x86_64, x86\non x86: allow read, waitpid\non i386, amd64: log write\n"
    assert outcome(text, "x86", "read") == ALLOW
    assert outcome(text, "x86_64", "read") == KILL
    assert outcome(text, "x86_64", "write") == LOG
    assert "waitpid" not in str(parse(f"default kill\n{text}").notes)


def test_a_bare_number_overrides_unknown_on_one_architecture():
    assert outcome("arch x86_64\nallow 500\n", "x86_64", 500) == ALLOW
    assert outcome("arch x86_64\nallow 500(arg1 == 3)\n", "x86_64", 500, 0, 3) == ALLOW
    assert outcome("arch x86_64\nallow 500(arg1 == 3)\n", "x86_64", 500, 0, 4) == KILL
    assert outcome("arch x86_64, x86\non x86: allow 500\n", "x86", 500) == ALLOW
    assert outcome("arch x86_64\nallow 0(count == 3)\n", "x86_64", "read", 0, 0, 3) == ALLOW  # a number with a name has its parameters
    with pytest.raises(PolicyError, match="means a call on one architecture"):
        parse("default kill\narch x86_64, x86\nallow 500\n")


def test_older_tables_do_not_know_later_calls():
    text = "default errno(EPERM)\narch x86_64\ntables 5.8\nallow @known\n"
    assert outcome(text, "x86_64", "read") == ALLOW
    assert outcome(text, "x86_64", "faccessat2") == ALLOW  # Linux 5.8
    assert outcome(text, "x86_64", "close_range") == 0x50026  # Linux 5.9
    assert outcome(text, "x86_64", "mseal") == 0x50026
    assert "tables   5.8\n" in str(parse(text))
    assert f"tables   {abi.TABLES}\n" in str(parse("default kill\n"))
