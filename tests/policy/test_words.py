"""The Python words build the values that the text spells."""

import pickle

import pytest

from seclude.errors import PolicyError
from seclude.policy import Policy, allow, call, errno, include, kill, kill_thread, log, notify, parse, trace, trap

TEXT = """
default errno(EPERM)
arch    native, compat
unknown kill_thread
allow   @base, @memory, exit_group
allow   openat(flags & (O_ACCMODE | O_CREAT | O_TRUNC) == O_RDONLY)
allow   socket(domain in {AF_UNIX, AF_INET})
errno(ENOSYS) clone3
on x86: trap(7) waitpid, socketcall(call == SYS_SOCKET)
trace(3) ptrace
log     getpid
notify  connect, sendto
kill    process_vm_writev
include container
"""


def test_python_builds_what_the_text_spells():
    built = Policy(
        default=errno("EPERM"),
        arch=("native", "compat"),
        unknown="kill_thread",
        rules=[
            allow("@base", "@memory", "exit_group"),
            allow("openat(flags & (O_ACCMODE | O_CREAT | O_TRUNC) == O_RDONLY)"),
            allow("socket", when="domain in {AF_UNIX, AF_INET}"),
            errno("ENOSYS")("clone3"),
            trap(7)("waitpid", call("socketcall", "call == SYS_SOCKET"), on="i386"),
            trace(3)("ptrace"),
            log("getpid"),
            notify("connect", "sendto"),
            kill("process_vm_writev"),
            include("container"),
        ],
        native="x86_64",
    )
    read = parse(TEXT, native="x86_64")
    assert built == read
    assert hash(built) == hash(read)
    assert parse(str(built), native="x86_64") == built
    assert built.sources[0] == ("<python>", str(built))
    assert built.sources[1][0] == "container.seclude"
    assert pickle.loads(pickle.dumps(read)) == read


def test_places_take_no_part_in_equality():
    one = parse("default kill\nallow read(fd == 0x10)\n", "a")
    other = parse("# moved\n\ndefault kill\nallow   read( fd==16 )\n", "b")
    assert one == other
    assert hash(one) == hash(other)
    assert str(one) != str(other)  # the base of a number is kept
    assert one != parse("default kill\nallow read(fd == 17)\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Policy(), "needs a 'default' line"),
        (lambda: Policy("kill", "vax"), "unknown architecture 'vax'"),
        (lambda: Policy("kil"), "did you mean 'kill'"),
        (lambda: Policy("kill", "x86_64", [allow("raed")]), "did you mean 'read'"),
        (lambda: Policy("kill", "x86_64", [allow("read", when="domain == 1")]), "'domain' is neither"),
        (lambda: Policy("kill", "x86_64", tables="99.0"), "newer than these"),
        (lambda: errno(4096), "at most 4095"),
        (lambda: Policy(errno("NOPE")), "unknown errno 'NOPE'"),
        (lambda: trap(65536), "16 bits"),
        (lambda: allow(), "a rule needs calls"),
        (lambda: allow("openat", "flags & O_ACCMODE == O_RDONLY"), "expected the end of the line"),
        (lambda: allow("@base", when="arg0 == 1"), "takes no further condition"),
        (lambda: kill("read", on="vax"), "unknown architecture"),
        (lambda: include("nonesuch"), "no preset"),
    ],
)
def test_wrong_words_are_policy_errors(make, message):
    with pytest.raises(PolicyError, match=message):
        make()


def test_actions_print_as_words():
    assert [str(one) for one in (allow, errno("EPERM"), errno(5), kill, kill_thread, trap(), trace(9))] == [
        "allow",
        "errno(EPERM)",
        "errno(5)",
        "kill_process",
        "kill_thread",
        "trap(0)",
        "trace(9)",
    ]
