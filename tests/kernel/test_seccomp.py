import errno
import struct

import pytest

from seclude.errors import FilterError
from seclude.kernel import seccomp

ALLOW = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)


@pytest.mark.parametrize(
    ("program", "said"),
    [(b"", "0 instructions"), (ALLOW * 4097, "4097 instructions"), (ALLOW[:-1], "7 are left over"), (ALLOW + b"x", "1 are left over")],
)
def test_lengths_that_the_kernel_would_refuse(program, said):
    with pytest.raises(FilterError, match=said):
        seccomp.prepare(program)


def test_the_argument_keeps_its_program():
    argument = seccomp.prepare(ALLOW * 4096)
    assert argument.len == 4096
    assert argument.held.raw == ALLOW * 4096


@pytest.mark.parametrize(
    ("number", "flags", "said"),
    [
        (errno.EINVAL, 1 << 20, "exist in no kernel"),
        (errno.EINVAL, seccomp.TSYNC | seccomp.NEW_LISTENER, "TSYNC_ESRCH"),
        (errno.EINVAL, seccomp.WAIT_KILLABLE_RECV, "meaningless without NEW_LISTENER"),
        (errno.EINVAL, 0, "refused the program"),
        (errno.EACCES, 0, "no_new_privs"),
        (errno.EBUSY, seccomp.NEW_LISTENER, "live listener"),
        (errno.ENOMEM, 0, "32768"),
        (errno.EMFILE, 0, "no descriptor"),
        (errno.EFAULT, 0, "cannot be read"),
        (errno.ESRCH, 0, "could not be put"),
        (errno.ENOSYS, 0, "has no seccomp filters"),
        (errno.EPERM, 0, "already installed"),
        (errno.EOVERFLOW, 0, "never gives"),
    ],
)
def test_every_errno_is_explained(number, flags, said):
    error = seccomp.explain(number, flags)
    assert said in str(error)
    assert error.errno == number
    assert error.diagnostics[0].remedy


def test_names_of_flags():
    assert seccomp.flag_names(0x3F) == list(seccomp.FLAGS)
    assert seccomp.flag_names(0) == []
