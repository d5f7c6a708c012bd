"""The widths of seclude.abi.prototypes against the running kernel: what the tables say is ignored is ignored, and what they say is read is read.

x86-64 and, through int 0x80, i386; as root and as uid 65534 (width_probes.py has the probes and why each is harmless).
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from seclude.abi.constants import constant
from support import missing, need_root, run_python

pytestmark = [pytest.mark.live, pytest.mark.skipif(platform.machine() != "x86_64", reason="the probes speak x86-64 and i386")]

PROBES = Path(__file__).with_name("width_probes.py").read_text()
# Configured out of some kernels: their probes say nothing there
OPTIONAL = {
    "kcmp", "keyctl", "landlock_create_ruleset", "mbind", "set_mempolicy", "get_mempolicy", "modify_ldt", "userfaultfd", "perf_event_open",
    "membarrier", "seccomp", "process_vm_readv", "pkey_mprotect", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "sysfs", "process_madvise", "cachestat", "name_to_handle_at",
    # newer than 6.1
    "futex_wake", "futex_wait", "lsm_list_modules", "removexattrat", "fchmodat2",
}  # fmt: skip


def probed(*, nobody):
    done = run_python(PROBES, nobody=nobody)
    assert done.status == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module", params=["root", "nobody"])
def results(request):
    if request.param == "root":
        need_root()
    rows = probed(nobody=request.param == "nobody")
    if all(row["abi"] != "x86" for row in rows):
        missing("the 32-bit entry", "boot with ia32_emulation=1")
    return rows


def shown(row):
    return f"{row['abi']} {row['call']}({row['parameter']}:{row['width']}): {row}"


def test_bits_above_a_width_change_nothing(results):
    """A filter that compared them would let a deny rule be passed by."""
    assert not [shown(row) for row in results if row.get("ignored_bits_matter")]


def test_a_bit_inside_a_width_is_read(results):
    """A filter that did not compare it would be a hole in an allow rule."""
    assert not [shown(row) for row in results if row.get("read_bit_matters") is False]


def test_enough_was_asked(results):
    """At least sixty parameters on each entry, of every width; only calls that a kernel may lack said nothing."""
    assert {row["call"] for row in results if row.get("absent")} <= OPTIONAL
    for abi in ("x86_64", "x86"):
        asked = {(row["call"], row["parameter"], row["width"]) for row in results if row["abi"] == abi and not row.get("absent")}
        assert len(asked) >= 150
        assert {width for *_, width in asked} == {16, 32, 64}


RAW = (
    PROBES.replace('if __name__ == "__main__":', "if False:")
    + """
import resource
x86 = Abi("x86")
directory = tempfile.TemporaryDirectory()
file = Path(directory.name) / "file"
fd = os.open(file, os.O_RDWR | os.O_CREAT)
buffer = Memory.put(bytes(64))
"""
)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        # values with different halves, so that no other order or place of the registers gives the same
        ("print(x86.call('truncate64', path=path(file), length=0x100000203), os.stat(file).st_size)", "0 4294967811"),
        ("print(x86.call('ftruncate64', fd=fd, length=0x200000307), os.stat(file).st_size)", "0 8589935367"),
        ("print(x86.call('fallocate', fd=fd, mode=0, offset=0x100000005, len=0x7001), os.stat(file).st_size)", "0 4294995974"),
        (
            (
                "os.pwrite(fd, b'here', 0x100000009)\n"
                "print(x86.call('pread64', fd=fd, buf=buffer, count=4, offset=0x100000009), read(buffer, 4))"
            ),
            "4 b'here'",
        ),
        (
            (
                "LOW[buffer - BASE:buffer - BASE + 3] = b'abc'\n"
                "print(x86.call('pwrite64', fd=fd, buf=buffer, count=3, offset=0x30000000B), os.pread(fd, 3, 0x30000000B))"
            ),
            "3 b'abc'",
        ),
        (
            (
                "os.pwrite(fd, b'there', 0x10000000F)\n"
                "vector = Memory.put(struct.pack('II', buffer, 5))\n"
                "print(x86.call('preadv', fd=fd, iov=vector, iovcnt=1, offset=0x10000000F), read(buffer, 5))\n"
                "print(x86.call('preadv2', fd=fd, iov=vector, iovcnt=1, offset=0x10000000F, flags=0), read(buffer, 5))"
            ),
            "5 b'there'\n5 b'there'",
        ),
        (
            (
                "result = x86.call('_llseek', fd=fd, offset_high=3, offset_low=17, result=buffer, whence=0)\n"
                "print(result, struct.unpack('q', read(buffer, 8))[0] == (3 << 32) + 17)"
            ),
            "0 True",
        ),
        # the last argument comes after the pairs: an unknown advice is refused, an unknown flag too, and the offset's sign is seen
        ("print([named(x86.call('fadvise64_64', fd=fd, offset=1, len=1 << 33, advice=a)) for a in (0, 99)])", "[0, 'EINVAL']"),
        ("print([named(x86.call('fadvise64', fd=fd, offset=1 << 33, len=1, advice=a)) for a in (0, 99)])", "[0, 'EINVAL']"),
        ("print([named(x86.call('sync_file_range', fd=fd, offset=0, nbytes=n, flags=0)) for n in (1 << 40, 1 << 63)])", "[0, 'EINVAL']"),
    ],
)
def test_split_values_on_i386_land_where_the_kernel_recombines_them(code, expected):
    done = run_python(RAW + code)
    assert (done.status, done.stdout.strip()) == (0, expected), done


def test_clone_takes_tls_and_child_tid_in_each_abis_order():
    """CLONE_CHILD_SETTID writes the child's id where child_tid points; with the orders mixed up it would write elsewhere or nowhere."""
    flags = 17 | (constant("CLONE_CHILD_SETTID", "x86_64") or 0) | (constant("CLONE_PARENT_SETTID", "x86_64") or 0)
    code = f"""
for name in ("x86_64", "x86"):
    abi = Abi(name)
    parent, child = Memory.put(bytes(16)), Memory.put(bytes(16))
    reader, writer = os.pipe()
    pid = abi.call("clone", flags={flags}, stack=0, parent_tid=parent, child_tid=child, tls=0)
    if pid == 0:
        os.write(writer, read(child, 4))
        os._exit(0)
    seen = struct.unpack("i", os.read(reader, 4))[0]
    os.waitpid(pid, 0)
    print(name, struct.unpack("i", read(parent, 4))[0] == pid, seen == pid)
"""
    done = run_python(RAW + code)
    assert done.stdout.split() == ["x86_64", "True", "True", "x86", "True", "True"], done
