"""The generators: what they read out of headers, tables and the man page, and that what is committed is what they write."""

from __future__ import annotations

import pytest

from abi_support import header_calls, kernel_headers, kernel_source, make_syscall_numbers, make_syscall_versions, syscall_review
from support import missing, need_header, need_program


def test_headers_are_read_as_the_preprocessor_sees_them(tmp_path):
    need_program("cc", "gcc")
    (tmp_path / "numbers.h").write_text(
        "#define __NR_Linux 4000\n#define __NR_exit (__NR_Linux + 1)\n#ifdef WIDE\n#define __NR_wide 0x20\n#else\n#define __NR_narrow 7\n#endif\n"
        "#define __NR_unused18 (__NR_Linux + 18)\n#define __NR_syscalls 471\n#define __NR_call(x) x\n#define __ARM_NR_BASE 0x0f0000\n"
        "#define __ARM_NR_set_tls (__ARM_NR_BASE+5)\n#define __NR_gone 3\n#undef __NR_gone\n#define __NR_x32 (0x40000000 | 5)\n#define __NR_less (9 - 2 + 1)\n"
    )
    common = {"exit": 4001, "set_tls": 0xF0005, "x32": 0x40000005, "less": 8}
    assert kernel_headers.read_numbers(str(tmp_path), "numbers.h") == {**common, "narrow": 7}
    assert kernel_headers.read_numbers(str(tmp_path), "numbers.h", ("WIDE",)) == {**common, "wide": 32}


def test_a_macro_that_is_no_sum_is_refused(tmp_path):
    need_program("cc", "gcc")
    (tmp_path / "numbers.h").write_text("#define __NR_odd (3 * 4)\n")
    with pytest.raises(ValueError, match="not a sum of numbers"):
        kernel_headers.read_numbers(str(tmp_path), "numbers.h")


def test_a_kernels_own_table_is_read_per_abi(tmp_path):
    file = tmp_path / "arch" / kernel_source.TABLES["s390"][0]
    file.parent.mkdir(parents=True)
    file.write_text(
        "# comment\n\n89   common\treaddir\t\t\t-\t\tcompat_sys_old_readdir\n101  32\t\tioperm\t\t\t-\t\t-\n142  32\t\t_newselect\t\t-\tcompat_sys_select\n"
        "142  64\t\tselect\t\t\tsys_select\t\t-\n149  common\t_sysctl\t\t\tsys_ni_syscall\tsys_ni_syscall\n"
    )
    assert kernel_source.read_tbl(tmp_path, "s390") == (
        {89: "readdir", 101: "ioperm", 142: "_newselect", 149: "_sysctl"},
        {"ioperm", "_sysctl"},
    )
    assert kernel_source.read_tbl(tmp_path, "s390x") == ({89: "readdir", 142: "select", 149: "_sysctl"}, {"readdir", "_sysctl"})


@pytest.mark.slow
def test_the_tables_are_what_the_generator_writes():
    for table in make_syscall_numbers.PACKAGE:
        header_calls(table)
    assert [name for name, text in make_syscall_numbers.modules().items() if (make_syscall_numbers.TARGET / name).read_text() != text] == []


@pytest.mark.slow
def test_the_versions_are_what_the_generator_writes():
    need_header(make_syscall_versions.PAGE, "manpages-dev")
    for table in make_syscall_numbers.PACKAGE:
        header_calls(table)
    page = make_syscall_versions.page_versions()
    if not {"clone3", "memfd_secret"} <= page.keys() or "set_mempolicy_home_node" in page:
        missing("the page syscalls(2) that the table was made from", "install manpages-dev of Debian 12")
    assert make_syscall_versions.text() == make_syscall_versions.TARGET.read_text()


def test_the_page_is_read_with_the_newer_of_two_series():
    need_header(make_syscall_versions.PAGE, "manpages-dev")
    page = make_syscall_versions.page_versions()
    assert page["clone3"] == "5.3"
    assert page["getxattr"] == "2.6", "2.6; 2.4.18"
    assert page["poll"] == "2.2", "2.0.36; 2.2"
    assert "pread64" not in page, "a row with a note in place of a version"


def test_contradicting_sources_stop_the_generator(monkeypatch):
    header_calls("x86_64")
    monkeypatch.setattr(make_syscall_numbers, "package_table", lambda table: {"read": 0, "lire": 0})
    with pytest.raises(ValueError, match="number 0 is read and lire"):
        make_syscall_numbers.merge("x86_64")


def test_names_that_nobody_reviewed_stop_the_generator(monkeypatch):
    header_calls("sh")
    monkeypatch.setitem(syscall_review.RETIRED, "sh", "bdflush _sysctl")
    with pytest.raises(ValueError, match=r"sh: only in the headers, and not reviewed: \['nfsservctl'\]"):
        make_syscall_numbers.merge("sh")
    monkeypatch.setitem(syscall_review.RETIRED, "sh", "bdflush _sysctl nfsservctl vserver")
    with pytest.raises(ValueError, match=r"named by no source: \['vserver'\]"):
        make_syscall_numbers.merge("sh")
