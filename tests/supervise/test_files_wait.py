"""FIFOs that are opened without waiting."""

import errno
import os

import support

#: one descriptor is free: the end is had with it, and what would tell who writes is not
SHORT = """
import errno, os, resource, sys
from seclude.kernel.libc import syscall
from seclude.supervise.files_wait import open_fifo
handle = os.open(sys.argv[1], os.O_PATH)
resource.setrlimit(resource.RLIMIT_NOFILE, (handle + 2, handle + 2))
for _ in range(3):
    try:
        open_fifo(handle, os.O_RDONLY)
    except OSError as error:
        print(error.errno)
os.close(os.dup(handle))
"""


def test_an_end_whose_writers_cannot_be_told_is_closed(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    done = support.run_python(SHORT, str(tmp_path / "fifo"))
    assert (done.status, done.stderr) == (0, ""), done
    assert done.stdout.split() == [str(errno.EMFILE)] * 3
