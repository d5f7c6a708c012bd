"""Every call of the tables that takes a path or a socket address: under the brokers' options each is asked about, refused, or on a list with its reason.

The lists of calls come from the prototypes, and what becomes of a call from the compiled filter itself: a call that a later kernel brings shows up here
by itself.
"""

import pytest

from seclude import abi
from seclude.abi.prototypes import prototype
from seclude.policy import parse
from seclude.sandbox import brokers, files
from seclude.sandbox.prepare import prepare
from seclude.supervise.files_table import BROKERED, COVERED, REFUSED
from seclude.supervise.network import CALLS
from seclude.supervise.plain import ERRNO, KILL_PROCESS, USER_NOTIF, Plain

ARCHITECTURES = ("x86_64", "x86")
ALLOW = "default allow\narch x86_64, x86\n"
#: a path that is a name for something else, or an answer of the kernel's
NOT_FILES = {"mq_open", "mq_unlink", "memfd_create"}
#: an address that the kernel writes
ANSWERS = {"accept", "accept4", "getsockname", "getpeername", "recvfrom"}
#: addresses behind a struct msghdr, which has no kind of its own in the tables; a socket that waits has an address, given or not
HIDDEN = {"sendmsg", "sendmmsg", "listen"}
#: arguments with pointers: not NULL anywhere
SOME = (4096,) * 6


def program(rules):
    """The plain filter and the one that reports, of a policy that permits everything."""
    artifact = prepare(parse(ALLOW, native="x86_64"), rules=rules)
    return Plain(artifact.plain), Plain(artifact.reported)


@pytest.fixture(scope="module")
def by_address():
    return program(brokers.rules({"connect": ["127.0.0.1:80"], "bind": ["unix:/run/x"]}))


@pytest.fixture(scope="module")
def by_path():
    return program(files.policy_rules({"read": [b"/tmp"]}))


@pytest.fixture(scope="module")
def by_file():
    return program(brokers.rules({"exec": ["true"]}))


def taking(kind):
    """``(architecture, call, number)`` of every call with a parameter of that kind."""
    for name in ARCHITECTURES:
        arch = abi.arch(name)
        for call in arch.calls():
            known = prototype(arch, call)
            if known is not None and any(parameter.kind == kind for parameter in known.parameters):
                yield arch, call, arch.number(call)


def action(plain, arch, number, args=SOME):
    return plain.value(number, arch.token, 0, args)[0]


def test_there_are_such_calls():
    found = {call for _, call, _ in taking("sockaddr")}
    assert {"connect", "bind", "sendto"} <= found
    assert found <= {*CALLS, *ANSWERS}
    assert len({call for _, call, _ in taking("path")}) > 60


def test_every_call_with_an_address_is_brokered(by_address):
    plain, told = by_address
    for arch, call, number in taking("sockaddr"):
        wanted = USER_NOTIF if call not in ANSWERS else None
        if wanted is not None:
            assert call in CALLS
            assert action(plain, arch, number) == wanted, (arch.name, call)
            assert action(told, arch, number) == wanted, (arch.name, call)
    for name in ARCHITECTURES:
        arch = abi.arch(name)
        for call in HIDDEN:
            assert action(plain, arch, arch.number(call)) == USER_NOTIF, (name, call)


def test_no_other_way_to_an_address(by_address):
    plain, _ = by_address
    for name in ARCHITECTURES:
        arch = abi.arch(name)
        for call in ("io_uring_setup", "io_uring_enter", "io_uring_register", "socketcall"):
            number = arch.number(call)
            if number is not None:
                assert action(plain, arch, number) == ERRNO, (name, call)
        sockets = arch.number("socket")
        for kind, protocol in ((3, 1), (3, 255), (2, 136), (1, 132), (5, 132), (1, 262), (10, 768)):  # raw, UDP-Lite, SCTP, MPTCP, packets
            expected = protocol == 136
            for family in (2, 10):
                permitted = action(plain, arch, sockets, (family, kind, protocol, 0, 0, 0)) != ERRNO
                assert permitted == expected, (name, family, kind, protocol)
        options = arch.number("setsockopt")
        for level, option in ((0, 4), (0, 16), (0, 17), (41, 5), (41, 6), (41, 32), (41, 57), (41, 34), (41, 35)):
            assert action(plain, arch, options, (3, level, option, 4096, 8, 0)) == ERRNO, (name, level, option)
        # What needs no address is as quick as ever.
        assert action(plain, arch, arch.number("sendto"), (3, 4096, 1, 0, 0, 0)) not in (USER_NOTIF, ERRNO, KILL_PROCESS)


def test_every_call_with_a_path_is_brokered_refused_or_covered(by_path):
    plain, told = by_path
    refused = {call for calls in REFUSED.values() for call in calls}
    for arch, call, number in taking("path"):
        found = action(plain, arch, number)
        if call in COVERED:
            assert COVERED[call]
            continue
        assert call in BROKERED or call in refused, f"{call} on {arch.name}: neither brokered, refused nor covered"
        assert found == (USER_NOTIF if call in BROKERED else ERRNO), (arch.name, call)
        assert action(told, arch, number) == USER_NOTIF, (arch.name, call)
    for call in (
        "truncate",
        "chdir",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
        "chown",
        "setxattr",
        "utimensat",
        "mknod",
        "inotify_add_watch",
    ):
        assert call in BROKERED or call in refused or call in COVERED, call


def test_every_call_that_executes_is_told_of(by_file):
    plain, _ = by_file
    for name in ARCHITECTURES:
        arch = abi.arch(name)
        for call in ("execve", "execveat", "memfd_create"):
            assert action(plain, arch, arch.number(call)) == USER_NOTIF, (name, call)


def test_what_a_policy_denies_stays_denied():
    """Files and programs that are granted open no call; addresses do, since sockets are of no use without."""
    rules = [*files.policy_rules({"read": [b"/tmp"]}), *brokers.rules({"exec": ["true"]})]
    denied = "default errno(EPERM)\narch x86_64\n"
    plain = Plain(prepare(parse(denied, native="x86_64"), rules=rules).plain)
    arch = abi.arch("x86_64")
    for call in (*BROKERED, "execve", "memfd_create"):
        number = arch.number(call)
        if number is not None:
            assert action(plain, arch, number) == ERRNO, call
    plain = Plain(prepare(parse(denied, native="x86_64"), rules=brokers.rules({"connect": ["unix:/run/x"]})).plain)
    assert action(plain, arch, arch.number("connect")) == USER_NOTIF
    assert action(plain, arch, arch.number("socket"), (2, 1, 0, 0, 0, 0)) == ERRNO
    assert action(plain, arch, arch.number("accept4")) == ERRNO
