"""What a report tells the user to add: small, and tried."""

import pytest

from seclude import abi
from seclude.abi.constants import constant
from seclude.policy import evaluate, load, parse, prepend, suggest


def number(name, arch="x86_64"):
    found = abi.arch(arch).number(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("call", "args", "text"),
    [
        ("ptrace", (0,), "ptrace"),
        ("socket", (2, 1, 0), "socket(domain == AF_INET)"),
        ("socket", (77, 1, 0), "socket(domain == 77)"),
        ("unshare", (0x10000000,), "unshare(flags == CLONE_NEWUSER)"),
        ("personality", (0x40000,), "personality(persona:u64 == 0x40000)"),
        ("prctl", (35, 0), "prctl(option == PR_SET_MM)"),
        ("ioctl", (0, 0x5412), "ioctl(request == TIOCSTI)"),
        ("mknodat", (0, 0, 0o020644), "mknodat(mode & S_IFMT == S_IFCHR)"),
    ],
)
def test_suggestions_for_the_container_preset(call, args, text):
    policy = load("container", native="x86_64")
    assert evaluate(policy, "x86_64", number(call), args).action.kind != "allow"
    assert suggest(policy, "x86_64", number(call), args) == text
    mended = prepend(policy, [("allow", text, "--allow")])
    assert evaluate(mended, "x86_64", number(call), args).action.kind == "allow"


def test_the_masks_of_the_policy_are_kept():
    policy = parse("default kill\narch x86_64\nallow openat(flags & (O_ACCMODE | O_CREAT) == O_RDONLY)\n")
    flags = (constant("O_WRONLY", "x86_64") or 0) | (constant("O_CLOEXEC", "x86_64") or 0)
    text = suggest(policy, "x86_64", number("openat"), (0, 0, flags))
    assert text == "openat(flags & (O_ACCMODE | O_CREAT) == O_WRONLY)"


def test_several_judged_parameters_are_all_named():
    policy = parse("default kill\narch x86_64\nallow socket(domain == AF_UNIX and type & 0xf == SOCK_STREAM)\n")
    text = suggest(policy, "x86_64", number("socket"), (2, 2 | 0o2000000, 0))
    assert text == "socket(domain == AF_INET and type & 0xf == SOCK_DGRAM)"


def test_rules_about_the_instruction_pointer_are_not_copied():
    policy = parse("default kill\narch x86_64\nallow getpid(ip == 5), kill(ip == 5 and sig == 0)\n")
    assert suggest(policy, "x86_64", number("getpid")) == "getpid"
    assert suggest(policy, "x86_64", number("kill"), (1, 9)) == "kill(sig == SIGKILL)"


def test_calls_without_a_name_are_offered_by_number():
    one = parse("default kill\narch x86_64\n")
    two = parse("default kill\narch x86_64, x86\n")
    assert suggest(one, "x86_64", 700) == "700"
    assert suggest(two, "x86_64", 700) == "on x86_64: 700"
    assert suggest(parse("default kill\narch x86_64, x32\n"), "x32", 0x40000300) == f"on x32: {0x40000300}"


def test_nothing_is_offered_where_no_rule_can_help():
    policy = load("container", native="x86_64")
    assert suggest(policy, "x86_64", 0xFFFFFFFF) is None
    assert suggest(policy, "x86_64", 0x40000001) is None
    assert suggest(policy, "aarch64", 1) is None


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["container", "readonly", "no-network", "compute"])
def test_every_offer_works(preset):
    policy = load(preset, native="x86_64")
    for arch in ("x86_64", "x86"):
        for name, nr in abi.arch(arch).calls().items():
            args = (0x10000011, 0x5412, 0o1101, 3)
            if evaluate(policy, arch, nr, args).action.kind != "allow":
                assert suggest(policy, arch, nr, args), name
