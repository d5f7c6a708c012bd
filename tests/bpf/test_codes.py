"""The codes against the headers of this machine."""

from __future__ import annotations

import re

from seclude.bpf import codes
from support import need_header

#: Names of ours that are the kernel's own but not in its exported headers.
INTERNAL = {"SECCOMP_DATA_SIZE"}


def defined(*paths):
    found: dict[str, str] = {}
    for path in paths:
        text = need_header(f"/usr/include/linux/{path}", "linux-libc-dev").read_text()
        found |= dict(re.findall(r"^#\s*define\s+((?:BPF|SECCOMP)_\w+)\s+([^/\n]+?)\s*(?:/\*.*)?$", text, re.MULTILINE))
    return found


def test_every_name_has_the_value_of_the_header():
    headers = defined("bpf_common.h", "filter.h", "seccomp.h")
    checked = 0
    for name in codes.__all__:
        if not name.startswith(("BPF_", "SECCOMP_")) or name in INTERNAL or name not in headers:
            continue
        text = re.sub(r"(?<=\d)U?L*\b", "", headers[name])
        value = getattr(codes, name)
        assert value == headers_value(headers, text), name
        checked += 1
    assert checked > 60


def headers_value(headers, text):
    text = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[UL]+\b", r"\1", text)
    text = re.sub(r"SECCOMP_\w+", lambda match: str(headers_value(headers, headers[match.group()])), text)
    return eval(text, {"__builtins__": {}})


def test_audit_tokens_are_served_from_the_tables():
    assert codes.AUDIT_ARCH_X86_64 == 0xC000003E
    assert codes.AUDIT_ARCH_I386 == 0x40000003
    assert codes.AUDIT_ARCH_AARCH64 == 0xC00000B7
