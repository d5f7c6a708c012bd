"""The tables of numbers: against the kernel headers installed here, against the package they come from, and in themselves."""

from __future__ import annotations

import importlib

import pytest

from abi_support import header_calls, headers_kernel, make_syscall_numbers, make_syscall_versions, syscall_review
from seclude import abi
from seclude.errors import UsageError

TABLES = {one._table: one for one in reversed(abi.ALL)}
EVERY = pytest.mark.parametrize("one", abi.ALL, ids=str)


@EVERY
def test_names_and_numbers_are_one_to_one(one):
    calls = one.calls()
    assert len(set(calls.values())) == len(calls)
    for name, number in calls.items():
        assert one.number(name) == number
        assert one.call_name(number) == name


@EVERY
def test_a_table_is_read_only(one):
    with pytest.raises(TypeError):
        one.calls()["read"] = 0


@EVERY
def test_unknown_names_and_numbers_are_none(one):
    assert one.number("no_such_call") is None
    assert one.number("Linux") is None
    assert one.call_name(0xFFFFFFFF) is None
    assert one.call_name(one.highest + 1) is None
    assert one.call_name(-1) is None


@EVERY
def test_highest_is_the_last_common_number(one):
    base = {"mips": 4000, "mipsel": 4000, "mips64": 5000, "mipsel64": 5000, "mips64n32": 6000, "mipsel64n32": 6000}.get(one.name, 0)
    # Linux 6.19 dropped 31-bit s390: its table ends with the last call of 6.18. x32's own numbers lie above the common ones.
    expected = {"s390": 469, "x32": 0x40000000 | 547}.get(one.name, base + 471)
    assert one.highest == expected
    assert one.call_name(one.highest) is not None


@EVERY
def test_calls_since_5_1_have_one_number_everywhere(one):
    base = one.number("pidfd_send_signal") - 424
    for name, number in abi.arch("x86_64").calls().items():
        if number > 423 and name in one.calls():
            assert one.number(name) == base + number


@pytest.mark.parametrize("table", TABLES)
def test_every_number_of_the_package_is_ours(table):
    pytest.importorskip("system_calls")
    ours = TABLES[table]
    for name, number in make_syscall_numbers.package_table(table).items():
        assert ours.number(name) == number | ours.x32_bit, name


@pytest.mark.parametrize("table", [*TABLES, "mipsel", "mipsel64", "mipsel64n32", "ppc64le"])
def test_the_installed_headers_agree(table):
    one = abi.arch(table) if table in abi.ARCHITECTURES else TABLES[table]
    headers = header_calls(table)
    kernel = headers_kernel(table)
    newer = {name for name in headers if one.number(name) is None}
    assert not newer or kernel > abi.tables_version(abi.TABLES), f"the headers name calls that the tables lack: {newer}"
    for name in headers.keys() - newer:
        assert one.number(name) == headers[name] | one.x32_bit, name
    for name in one.calls().keys() - headers.keys():
        assert not abi.known_at(name, ".".join(map(str, kernel)), one), f"{name} is older than these headers, which lack it"


def test_the_table_versions_are_the_packages():
    version = importlib.import_module("system_calls.linux_version").linux_version
    assert version.startswith(abi.TABLES + ".")
    assert abi.KNOWN_TABLES[-1] == abi.TABLES
    assert make_syscall_numbers.package_version() == abi.TABLES


def test_x86_64():
    one = abi.arch("x86_64")
    assert [one.call_name(n) for n in (0, 1, 59, 101, 231, 257, 317, 334, 335, 336, 337, 423, 424, 435)] == [
        "read", "write", "execve", "ptrace", "exit_group", "openat", "seccomp", "rseq", "uretprobe", "uprobe", None, None, "pidfd_send_signal", "clone3",
    ]  # fmt: skip
    assert [name for name in one.calls() if name in one.retired] == [
        "uselib", "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl", "getpmsg", "putpmsg", "afs_syscall", "tuxcall", "security",
        "set_thread_area", "get_thread_area", "lookup_dcookie", "epoll_ctl_old", "epoll_wait_old", "vserver",
    ]  # fmt: skip


def test_x86():
    one = abi.arch("x86")
    assert {name: one.number(name) for name in ("restart_syscall", "execve", "ptrace", "socketcall", "ipc", "mmap2", "clock_gettime64", "futex_time64")} == {
        "restart_syscall": 0, "execve": 11, "ptrace": 26, "socketcall": 102, "ipc": 117, "mmap2": 192, "clock_gettime64": 403, "futex_time64": 422,
    }  # fmt: skip
    assert [one.call_name(n) for n in (222, 223, 251, 285)] == [None] * 4, "holes that never had a released name"
    assert {"uselib", "create_module", "bdflush", "vserver", "_sysctl", "break"} <= one.retired
    assert "vm86" not in one.retired, "a 32-bit kernel has it"


def test_x32_has_its_own_numbers_for_what_carries_pointers():
    wide, own = abi.arch("x86_64"), abi.arch("x32")
    special = {name: number & ~0x40000000 for name, number in own.calls().items() if number & 0xFFF >= 512}
    assert sorted(special.values()) == list(range(512, 548))
    assert special["ptrace"] == 521
    assert special["execve"] == 520
    for name in special:
        assert own.call_name(0x40000000 | wide.calls()[name]) is None, "x86_64's own number means nothing on x32"
    for name, number in own.calls().items():
        assert number & 0x40000000
        if name not in special:
            assert number == 0x40000000 | wide.calls()[name]
    assert own.call_name(0) is None, "without bit 30 it is no x32 call"
    lacking = {name for name in wide.calls() if own.number(name) is None}
    assert lacking == {
        "uselib", "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl", "set_thread_area", "get_thread_area", "epoll_ctl_old",
        "epoll_wait_old", "vserver",
    }  # fmt: skip


def test_arm_has_private_numbers():
    one = abi.arch("arm")
    private = {name: number for name, number in one.calls().items() if number >= 0xF0000}
    assert private == {
        "breakpoint": 0xF0001,
        "cacheflush": 0xF0002,
        "usr26": 0xF0003,
        "usr32": 0xF0004,
        "set_tls": 0xF0005,
        "get_tls": 0xF0006,
    }
    assert one.call_name(0xF0002) == "cacheflush"


def test_a_synonym_is_understood_and_not_printed():
    one = abi.arch("arm")
    assert one.number("arm_sync_file_range") == one.number("sync_file_range2") == 341
    assert one.call_name(341) == "sync_file_range2"
    assert "arm_sync_file_range" not in one.calls()
    assert dict(one.synonyms) == {"arm_sync_file_range": "sync_file_range2"}


@pytest.mark.parametrize(
    ("name", "base"), [("mips", 4000), ("mipsel", 4000), ("mips64", 5000), ("mipsel64", 5000), ("mips64n32", 6000), ("mipsel64n32", 6000)]
)
def test_mips_abis_have_their_bases(name, base):
    numbers = abi.arch(name).calls().values()
    assert min(numbers) >= base
    assert max(numbers) == base + 471


def test_multiplexers():
    with_both = {one.name for one in abi.ALL if one.multiplexers}
    assert with_both == {"x86", "m68k", "mips", "mipsel", "ppc", "ppc64", "ppc64le", "s390", "s390x", "sh", "sheb"}
    assert {one.multiplexers for one in abi.ALL} == {(), ("socketcall", "ipc")}


@EVERY
def test_retired_calls_are_calls_and_never_the_newest(one):
    assert one.retired <= set(one.calls())
    assert not one.retired & {"read", "write", "exit_group", "openat", "execve", "seccomp"}
    assert "lookup_dcookie" in one.retired


def test_since():
    known = {
        "read": "1.0", "pread64": "2.2", "openat": "2.6.16", "seccomp": "3.17", "membarrier": "4.3", "pkey_alloc": "4.9", "clone3": "5.3", "futex_waitv": "5.16",
        "cachestat": "6.5", "fchmodat2": "6.6", "mseal": "6.10", "uretprobe": "6.11", "setxattrat": "6.13", "uprobe": "6.18", "listns": "6.19", "rseq_slice_yield": "7.0",
    }  # fmt: skip
    assert {name: abi.since(name) for name in known} == known
    assert abi.since("afs_syscall") is None
    assert abi.since("no_such_call") is None


def test_since_on_an_architecture_that_got_it_later():
    assert abi.since("map_shadow_stack") == abi.since("map_shadow_stack", "x86_64") == "6.6"
    assert abi.since("map_shadow_stack", "arm64") == "6.7"
    assert abi.since("newfstatat", "loongarch64") == "6.11"
    assert [abi.since("socket", name) for name in ("x86_64", "x86")] == ["2.0", "4.3"]
    assert [abi.since("shmat", name) for name in ("x86_64", "x86")] == ["2.0", "5.1"]
    assert abi.since("newfstatat", "x86_64") == "2.6.16"


def test_every_reviewed_version_is_of_a_call_that_exists():
    for name, architecture in syscall_review.LATER:
        assert abi.arch(architecture).number(name) is not None
        first, later = abi.since(name), abi.since(name, architecture)
        assert first is not None
        assert later is not None
        assert make_syscall_versions.key(later) > make_syscall_versions.key(first)


@pytest.mark.parametrize(
    ("call", "tables", "known"),
    [
        ("clone3", "5.2", False),
        ("clone3", "5.3", True),
        ("clone3", "5.3.1", True),
        ("read", "2.0", True),
        ("openat", "2.6", False),
        ("openat", "2.6.16", True),
        ("afs_syscall", "2.0", True),
        ("mseal", "6.9", False),
        ("mseal", "6.10", True),
    ],
)
def test_known_at_compares_versions_not_texts(call, tables, known):
    assert abi.known_at(call, tables) is known


def test_calls_at_leaves_out_what_came_later():
    now, then = abi.arch("x86_64").calls(), abi.calls_at("x86_64", "6.18")
    assert now.keys() - then.keys() == {"listns", "rseq_slice_yield"}
    assert abi.calls_at("x86_64") == now
    assert "newfstatat" not in abi.calls_at("loongarch64", "6.10")


@pytest.mark.parametrize("text", ["", "6", "6.x", "v6.1", "6.1-rc1", "6..1", "-1.0", "6.1.2.3", "²1.0", "123456.0"])
def test_a_version_of_tables_is_two_or_three_numbers(text):
    with pytest.raises(UsageError, match="no version of the tables"):
        abi.tables_version(text)


def test_tables_of_the_future_are_refused():
    major, minor = abi.tables_version(abi.TABLES)
    for text in (f"{major}.{minor + 1}", f"{major + 1}.0", f"{abi.TABLES}.1"):
        with pytest.raises(UsageError, match="newer than these"):
            abi.known_at("read", text)


def test_split_ipc_calls_stand_where_linux_5_1_put_them():
    for name, architecture in syscall_review.LATER:
        if syscall_review.LATER[name, architecture] == "5.1":
            number = abi.arch(architecture).number(name)
            assert number is not None
            assert 392 <= number % 1000 <= 402
