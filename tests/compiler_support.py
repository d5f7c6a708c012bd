"""What the compiler's tests share."""

from seclude.compiler.artifact import Artifact


def artifact(**changes):
    fields = {
        "name": "container",
        "sources": [("container.seclude", "default errno(EPERM)\n# ü\n"), ("--allow", "allow read")],
        "byteorder": "little",
        "native": "x86_64",
        "plain": bytes(range(64)),
        "reported": b"\x06\x00\x00\x00\x00\x00\xff\x7f",
        "summary": {"calls": "300", "default": "errno(EPERM)"},
        "overrides": [("allow", "read"), ("deny", "socket(domain == AF_INET)")],
    }
    return Artifact(**(fields | changes))
