"""What the kernel distinguishes: typed views, harmless differences and bypasses, against a definition that tries the ignored bits."""

import random

import pytest

from decision_support import I386, X86_64
from seclude.abi import arch
from seclude.bpf import assemble
from seclude.decision import SystemCall, bypass, calls_of, difference, from_policy, from_program, permitted, same_to_kernel, subset, typed
from seclude.decision.compare import action_class, rank
from seclude.decision.typed import ignored_bits
from seclude.policy import parse


def seen(calls):
    found = calls.witness()
    assert found is not None
    return found


def of(text, archs="x86_64"):
    return from_policy(parse(f"arch {archs}\ndefault errno(EPERM)\n{text}"))


def test_ignored_bits_follow_the_prototypes():
    x86_64 = ignored_bits(arch("x86_64"), "socket")
    assert x86_64[:4] == (0, 0, 0, 0)
    assert x86_64[4:10] == (0, 0xFFFFFFFF) * 3
    assert x86_64[10:] == (0xFFFFFFFF,) * 6
    assert ignored_bits(arch("x86_64"), "write")[6:10] == (0, 0, 0, 0)  # pointer, size
    assert ignored_bits(arch("x86_64"), "fchmod")[6:8] == (0xFFFF0000, 0xFFFFFFFF)
    assert ignored_bits(arch("x86"), "write")[4:10] == (0, 0xFFFFFFFF) * 3
    assert ignored_bits(arch("x86_64"), "")[4:] == (0,) * 12
    assert ignored_bits(arch("arm"), "")[4:] == (0, 0xFFFFFFFF) * 6


def test_a_difference_in_ignored_bits_alone_is_told_apart():
    # An allow-list that compares 64 bits refuses some calls needlessly, and no more.
    wide, narrow = of("allow socket(domain:u64 == AF_UNIX)"), of("allow socket(domain == AF_UNIX)")
    assert wide is not narrow
    assert same_to_kernel(wide, narrow)
    assert typed(wide) is typed(narrow) is narrow
    assert not bypass(wide)
    assert not bypass(narrow)


def test_a_deny_list_of_64_bits_is_bypassed():
    # Allowed below 38, at 39 and above 40, compared on 64 bits, is meant to keep AF_ALG and AF_VSOCK out.
    holed = of("allow socket(domain:u64 < 38 or domain:u64 == 39 or domain:u64 > 40)")
    sound = of("allow socket(domain not in {AF_ALG, AF_VSOCK})")
    assert subset(sound, holed)
    assert not same_to_kernel(holed, sound)
    assert not bypass(sound)
    found = bypass(holed)
    assert found == permitted(holed) - permitted(sound)
    call = seen(found)
    assert call.args[0] == 0x100000026
    assert str(call.clean()) == "socket(AF_ALG, SOCK_STREAM, 0)"
    assert holed.value(call.words) == 0x7FFF0000
    assert holed.value(call.clean().words) == 0x50001
    assert typed(holed).value(call.clean().words) == 0x7FFF0000


def test_sign_extended_values_are_no_bypass():
    # Compilers leave AT_FDCWD as 0xffffffffffffff9c or as 0xffffff9c: permitting only the one permits nothing new.
    extended = of("allow openat(dirfd:u64 == 0xffffffffffffff9c)")
    assert not bypass(extended)
    assert same_to_kernel(extended, of("allow openat(dirfd == AT_FDCWD)"))
    # The sign of a positive number is zero: ones above it are what no compiler leaves.
    assert bypass(of("allow openat(dirfd:u64 == 0xffffffff00000003)"))


def test_sixteen_bit_modes():
    holed = of("allow fchmod(mode:u64 & 0xfffffffffffff000 == 0 or mode:u64 > 0xffff)")
    call = seen(bypass(holed))
    assert str(call) == "fchmod(0, 0x11000 = S_IFIFO|00 after the kernel drops all but 16 bits)"


def test_registers_that_a_call_does_not_have():
    d = of("allow getpid(arg0:u64 == 5)")
    assert typed(d).value(SystemCall(X86_64, 39, (0,) * 6).words) == 0x7FFF0000
    assert same_to_kernel(d, of("allow getpid"))
    assert not bypass(d)  # registers that are not read are as they come


def test_undecided_answers_can_be_bypassed_too():
    assert bypass(of("notify socket(domain:u64 != 40)"))
    assert bypass(of("notify socket(domain:u64 == 40)\nallow socket"))
    assert not bypass(of("errno(ENOSYS) socket(domain:u64 == 0x100000028)\nallow socket"))


def test_high_halves_on_32_bit_architectures():
    d = from_program(
        assemble("""
            A = arch
            if (A != ARCH_I386) goto bad
            A = sys_number
            if (A != read) goto bad
            A = args[0] >> 32
            if (A == 0) goto bad
            return ALLOW
        bad:
            return ERRNO(EPERM)
        """)
    )
    assert bypass(d) == permitted(d)
    assert typed(d).of_call(I386, 3).value == 0x7FFF0000
    assert typed(d).of_call(X86_64, 3) is d.of_call(X86_64, 3)


def best(d, words, ignored, rnd, tries=60):
    """The best answer over samples of the ignored bits."""
    found = []
    for _ in range(tries):
        style = rnd.choice((0, 0xFFFFFFFF, None))
        noise = [rnd.getrandbits(32) if style is None or rnd.random() < 0.3 else style for _ in words]
        found.append(d.value([w & ~m | n & m for w, n, m in zip(words, noise, ignored, strict=True)]))
    return max(found, key=lambda v: (action_class(v), rank(v)))


CONDITIONS = (
    "domain == 2", "domain:u64 == 2", "domain:u64 != 40", "domain:u64 > 40 or domain:u64 < 38", "domain:u64 & 0xff00000001 == 1",
    "type:u64 & 0x100000003 == 0x100000001", "domain in {1, 2} and type:u64 < 7", "protocol:u64 >= 1 << 40 or arg4:u64 == 0",
)  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS)
def test_typed_views_are_the_best_of_all_ignored_bits(condition):
    rnd = random.Random(condition)
    d = of(f"allow socket({condition})\nlog socket(arg5:u64 == 77)")
    view = typed(d)
    ignored = ignored_bits(arch("x86_64"), "socket")
    for _ in range(60):
        words = list(SystemCall(X86_64, 41, tuple(rnd.choice((0, 1, 2, 3, 38, 40, 1 << 32 | 40, 77, 1 << 40)) for _ in range(6))).words)
        # Where sampling finds less than the view grants, a member proves the view right.
        wanted = view.value(words)
        seen = best(d, words, ignored, rnd)
        assert rank(seen) <= rank(wanted)
        if seen != wanted:
            equal = [calls_of("x86_64", "socket")]
            assert any(wanted in {d.value(words)} | d.leaves() for _ in equal)
        flipped = [w ^ (rnd.getrandbits(32) & m) for w, m in zip(words, ignored, strict=True)]
        assert view.value(flipped) == wanted
    assert typed(view) is view
    assert not bypass(view)
    assert subset(d, view)


def test_views_and_bypasses_leave_other_calls_alone():
    holed = of("allow read, socket(domain:u64 != 40)")
    assert difference(holed, typed(holed)).calls <= calls_of("x86_64", "socket")
    assert bypass(holed) <= calls_of("x86_64", "socket")
