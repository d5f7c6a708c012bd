"""What the tests of the tables share: the checkout's tools, and the installed kernel headers."""

from __future__ import annotations

import sys

from support import ROOT, missing, need_program

# The generators are modules of the checkout, not of the package: found from its root.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from tools import kernel_headers, kernel_source, make_syscall_numbers, make_syscall_versions, syscall_review

__all__ = [
    "header_calls",
    "headers_kernel",
    "kernel_headers",
    "kernel_source",
    "make_syscall_numbers",
    "make_syscall_versions",
    "syscall_review",
]


def header_calls(table):
    """Name → number by the installed headers, x32's without bit 30; skips where they are not installed."""
    need_program("cc", "gcc")
    found = kernel_headers.read_table(table)
    if found is None:
        entry = kernel_headers.LOONGARCH if table == "loongarch64" else kernel_headers.HEADERS[table]
        missing(f"the kernel headers of {table}", f"apt-get install {entry[3]}")
    return found


def headers_kernel(table):
    """The kernel that the headers of ``table`` are of, as (6, 1)."""
    entry = kernel_headers.LOONGARCH if table == "loongarch64" else kernel_headers.HEADERS[table]
    directory = kernel_headers.include_directory(entry[0]) or kernel_headers.include_directory("x86_64-linux-gnu")
    assert directory is not None, "header_calls comes first"
    code = kernel_headers.read_macro(directory, "linux/version.h", "LINUX_VERSION_CODE")
    return code >> 16, code >> 8 & 0xFF
