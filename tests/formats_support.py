"""libseccomp's own word on a rule set, from Debian's python3-seccomp, for the tests of formats."""

import json
import random
import subprocess

from seclude.abi import arch
from seclude.bpf import Program
from support import need_system_module

# Rule sets come in as JSON lines, filters leave as hexadecimal lines. An operator's operands follow libseccomp's order.
_SCRIPT = r"""
import json, sys, tempfile, seccomp
def action(value):
    kind, data = value & 0xffff0000, value & 0xffff
    return {0x80000000: seccomp.KILL_PROCESS, 0: seccomp.KILL, 0x30000: seccomp.TRAP, 0x50000: seccomp.ERRNO(data), 0x7fc00000: seccomp.NOTIFY,
            0x7ff00000: seccomp.TRACE(data), 0x7ffc0000: seccomp.LOG, 0x7fff0000: seccomp.ALLOW}[kind]
for line in sys.stdin:
    spec = json.loads(line)
    try:
        f = seccomp.SyscallFilter(action(spec["default"]))
        if spec["native"] != "X86_64":
            f.remove_arch(seccomp.Arch.X86_64)
            f.add_arch(getattr(seccomp.Arch, spec["native"]))
        for name in spec["archs"]:
            if name != spec["native"]:
                f.add_arch(getattr(seccomp.Arch, name))
        for value, call, args in spec["rules"]:
            if value != spec["default"]:
                f.add_rule(action(value), call, *[seccomp.Arg(i, getattr(seccomp, op), *operands) for i, op, *operands in args])
        with tempfile.TemporaryFile() as out:
            f.export_bpf(out)
            out.seek(0)
            print(json.dumps(out.read().hex()))
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""

_ACTIONS = {
    0x80000000: "SCMP_ACT_KILL_PROCESS",
    0: "SCMP_ACT_KILL_THREAD",
    0x30000: "SCMP_ACT_TRAP",
    0x50000: "SCMP_ACT_ERRNO",
    0x7FC00000: "SCMP_ACT_NOTIFY",
    0x7FF00000: "SCMP_ACT_TRACE",
    0x7FFC0000: "SCMP_ACT_LOG",
    0x7FFF0000: "SCMP_ACT_ALLOW",
}


def libseccomp(specs):
    """For each rule set a `Program`, or None where libseccomp refuses it."""
    python = need_system_module("seccomp", "python3-seccomp")
    done = subprocess.run(
        [python, "-c", _SCRIPT], input="\n".join(map(json.dumps, specs)), capture_output=True, text=True, check=True, timeout=120
    )
    out = []
    for line, spec in zip(done.stdout.splitlines(), specs, strict=True):
        found = json.loads(line)
        byteorder = arch("scmp_arch_" + spec["native"]).byteorder
        out.append(None if isinstance(found, dict) else Program.from_bytes(bytes.fromhex(found), byteorder))
    return out


def oci(spec, **more):
    """The same rule set as an OCI seccomp object, as bytes."""

    def action(value):
        word = _ACTIONS[value & 0xFFFF0000]
        return (word, value & 0xFFFF) if word in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else (word, None)

    default, errno = action(spec["default"])
    rules = []
    for value, call, args in spec["rules"]:
        word, data = action(value)
        rule = {"names": [call], "action": word, "args": [_argument(*one) for one in args]}
        rules.append(rule | ({"errnoRet": data} if data is not None else {}))
    profile = {"defaultAction": default, "architectures": [f"SCMP_ARCH_{name}" for name in spec["archs"]], "syscalls": rules}
    if errno is not None:
        profile["defaultErrnoRet"] = errno
    return json.dumps(profile | more).encode()


def _argument(index, op, value, two=0):
    return {"index": index, "value": value, "valueTwo": two, "op": f"SCMP_CMP_{op}"}


_NAMES = (
    "read write socket socketpair connect accept accept4 sendto semop semtimedop shmat shmget personality clone ioctl fcntl execve mmap open openat"
    " socketcall ipc setuid lseek ptrace recvmsg send recv"
)
_CALLS = _NAMES.split()
_VALUES = (0, 1, 2, 3, 7, 38, 40, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 0x100000028, 1 << 63, (1 << 64) - 1, 0x7E020000)
_RESULTS = (0x50001, 0x50026, 0x7FFF0000, 0x80000000, 0, 0x30000, 0x7FFC0000, 0x7FF00009)
_NATIVES = {
    "X86_64": ("X86_64", "X86", "X32"),
    "AARCH64": ("AARCH64", "ARM"),
    "S390X": ("S390X", "S390"),
    "PPC64LE": ("PPC64LE",),
    "MIPS": ("MIPS", "MIPS64", "MIPS64N32"),
    "RISCV64": ("RISCV64",),
}


def random_spec(rnd: random.Random, *, one_action=True):
    """A rule set; with ``one_action`` the rules of a call agree on what to do, so that no order matters."""
    native = rnd.choice((*("X86_64",) * 4, *_NATIVES))
    archs = [name for name in _NATIVES[native] if rnd.random() < 0.6]
    # A call and the multiplexer that carries it are one group.
    actions: dict[str, int] = {}
    allowed = rnd.choice(_RESULTS)
    # Profiles permit some calls whatever their arguments.
    anchor = allowed if one_action else 0x50016
    rules: list[list[object]] = [[anchor, name, []] for name in ("brk", "exit_group", "gettid")]
    for _ in range(rnd.randrange(1, 9)):
        call = rnd.choice(_CALLS)
        value = actions.setdefault(call, allowed if one_action else rnd.choice(_RESULTS))
        indexes = rnd.sample(range(4), rnd.choice((0, 0, 1, 1, 2)))
        args = []
        for index in sorted(indexes):
            op = rnd.choice(("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"))
            args.append([index, op, rnd.choice(_VALUES), *([rnd.choice(_VALUES)] if op == "MASKED_EQ" else [])])
        rules.append([value, call, args])
    return {"native": native, "archs": archs, "default": rnd.choice(_RESULTS), "rules": rules}
