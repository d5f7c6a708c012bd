import errno
import os

import pytest

from seclude.errors import KernelError
from seclude.kernel import libc


def test_a_result_is_the_kernels_own():
    assert libc.syscall("getpid") == os.getpid()
    assert libc.syscall("close", -1) == -errno.EBADF
    assert libc.syscall(libc.number("getppid")) == os.getppid()


def test_a_sleeping_call_may_release_the_lock():
    assert libc.syscall("getpid", wait=True) == os.getpid()


def test_whole_registers_are_passed():
    # sendfile's count is 64 bits wide: with a truncated argument this would be count 0 and no error.
    assert libc.syscall("lseek", 0x1_0000_0000 - 1, 0, 0) == -errno.EBADF
    assert libc.syscall("munmap", 1 << 47, 0x1000_0000_0000_0000) == -errno.EINVAL


def test_an_error_names_the_call_the_errno_and_the_purpose():
    with pytest.raises(KernelError) as caught:
        libc.call("close", -1, expected="an open descriptor", remedy="open it first")
    assert caught.value.errno == errno.EBADF
    assert str(caught.value) == "close: EBADF: Bad file descriptor (an open descriptor)\n  open it first"


def test_a_call_that_this_architecture_lacks():
    with pytest.raises(KernelError, match="has no such system call") as caught:
        libc.number("no_such_call")
    assert caught.value.errno == errno.ENOSYS


def test_unknown_errno_is_still_said():
    assert libc.errno_name(1) == "EPERM"
    assert libc.errno_name(4000) == "errno 4000"
