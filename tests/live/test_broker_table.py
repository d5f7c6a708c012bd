"""Every call with a path, made once under ``--read``, on a file and in a directory that were not granted: nothing of it succeeds, and nothing is changed."""

import json
import os

import pytest

from run_support import directory, python, run, who
from seclude import abi
from seclude.abi.prototypes import prototype
from seclude.supervise.files_table import COVERED

pytestmark = pytest.mark.live

VICTIM = """
import ctypes, errno, json, os, sys

libc = ctypes.CDLL(None, use_errno=True)
calls, where = json.loads(sys.argv[1]), os.fsencode(sys.argv[2])
how = ctypes.create_string_buffer(256)
for name, number, registers, kinds in calls:
    result = {}
    for path in (where + b"/file", where + b"/fresh"):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            arguments = []
            for index in range(6):
                kind = kinds.get(str(index))
                if index in registers:
                    arguments.append(ctypes.c_char_p(path))
                elif kind == "pointer":
                    arguments.append(how)  # zeros, and room for an answer
                elif kind == "fd":
                    arguments.append(ctypes.c_long(-100))
                elif kind == "size":
                    arguments.append(ctypes.c_long(24))
                else:
                    arguments.append(ctypes.c_long(0))
            value = libc.syscall(ctypes.c_long(number), *arguments)
            os.write(writing, str(value if value >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")).encode())
            os._exit(0)
        os.close(writing)
        result[path.rpartition(b"/")[2].decode()] = os.read(reading, 99).decode()
        os.close(reading)
        os.waitpid(child, 0)
    print(json.dumps([name, result]), flush=True)
"""


def with_paths():
    arch = abi.arch("x86_64")
    for name, number in sorted(arch.calls().items()):
        known = prototype(arch, name)
        if known is None or name in COVERED:
            continue
        registers = [parameter.index for parameter in known.parameters if parameter.kind == "path"]
        if registers:
            yield name, number, registers, {parameter.index: parameter.kind for parameter in known.parameters}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
@pytest.mark.parametrize("nobody", who())
def test_no_call_reaches_a_file_that_is_not_granted(nobody):
    where = directory()
    (where / "file").write_text("secret")
    (where / "file").chmod(0o777)
    before = [(name, os.lstat(where / name)[:9], (where / name).read_bytes()) for name in sorted(os.listdir(where))]
    calls = list(with_paths())
    assert len(calls) > 60
    interpreter = python()
    ran = run(
        interpreter, "-c", VICTIM, json.dumps(calls), str(where), nobody=nobody,
        options=("--read", "/usr", "--read", "/root/.pyenv" if interpreter.startswith("/root/.pyenv") else "/lib"),
    )  # fmt: skip
    got = dict(json.loads(line) for line in ran.done.stdout.splitlines())
    assert set(got) == {name for name, *_ in calls}, str(ran.done)
    succeeded = {name: result for name, result in got.items() for value in result.values() if value.isdecimal()}
    assert not succeeded
    # Both a granted file that is missing and one that is hidden may be denied or absent, but never seen to be there.
    after = [(name, os.lstat(where / name)[:9], (where / name).read_bytes()) for name in sorted(os.listdir(where))]
    assert [one[0] for one in after] == [one[0] for one in before]
    assert [one[2] for one in after] == [one[2] for one in before]
    assert [(one[1][0], one[1][4:7], one[1][8]) for one in after] == [(one[1][0], one[1][4:7], one[1][8]) for one in before]
    assert ran.denied("truncate")["result"] in ("EACCES", "ENOENT", "EPERM")
