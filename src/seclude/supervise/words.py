"""A call in words, for somebody who has to decide it: ``open /etc/hosts to read``, ``connect to 192.0.2.1:80``.

What the call points to is the target's own choice: it is read once, cut, escaped, and put between quotation marks, so that it cannot pass
for words of ours.
"""

from __future__ import annotations

import os

from seclude.kernel.paths import AT_FDCWD
from seclude.supervise.call import Unreadable
from seclude.supervise.describe import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from seclude.abi.prototypes import Parameter, Prototype
    from seclude.supervise.call import Call

__all__ = ["in_words"]

_LONGEST = 200  # bytes of a path, an address or a word that are shown
_MOST_WORDS = 6  # of a command line

#: call → what it does; ``{name}`` is a parameter: a path, an address, or a number by its names
_TEMPLATES = {
    "stat lstat newfstatat fstatat64 stat64 lstat64 statx statfs statfs64": "look at {path}",
    "access faccessat faccessat2": "ask whether it may use {path}",
    "readlink readlinkat": "read where the link {path} points",
    "unlink": "remove {path}",
    "unlinkat": "remove {path}",
    "rmdir": "remove the directory {path}",
    "mkdir mkdirat": "make the directory {path}",
    "rename renameat renameat2": "rename {path} to {path2}",
    "link linkat": "give {path} the further name {path2}",
    "symlink": "make a link {path2} to {path}",
    "symlinkat": "make a link {path2} to {path}",
    "chmod fchmodat fchmodat2": "change the mode of {path} to {mode}",
    "chown lchown fchownat": "change the owner of {path}",
    "truncate truncate64": "cut the file {path}",
    "mknod mknodat": "make a special file {path}",
    "utime utimes utimensat futimesat": "change the times of {path}",
    "setxattr lsetxattr removexattr lremovexattr": "change an attribute of {path}",
    "getxattr lgetxattr listxattr llistxattr": "read an attribute of {path}",
    "chdir": "go to the directory {path}",
    "chroot": "make {path} its root directory",
    "inotify_add_watch": "watch {path} for changes",
    "socket": "make a socket ({domain})",
    "socketpair": "make a pair of sockets ({domain})",
    "connect": "connect to {address}",
    "bind": "take the address {address}",
    "sendto": "send data to {address}",
    "listen": "wait for connections",
    "accept accept4": "take a connection",
    "kill": "send {sig} to process {pid}",
    "tkill": "send {sig} to thread {tid}",
    "tgkill": "send {sig} to thread {tid}",
    "ptrace": "trace process {pid} ({op})",
    "process_vm_readv": "read the memory of process {pid}",
    "process_vm_writev": "write into the memory of process {pid}",
    "fork vfork": "start a process",
    "clone": "start a process or a thread ({flags})",
    "clone3": "start a process or a thread",
    "unshare setns": "enter namespaces ({flags})",
    "setuid setreuid setresuid setfsuid": "change its user",
    "setgid setregid setresgid setfsgid setgroups": "change its groups",
    "capset": "change its capabilities",
    "ioctl": "control what is open as descriptor {fd} ({op})",
    "prctl": "change something about itself ({op})",
    "mount": "mount a file system at {path2}",
    "umount2": "unmount {path}",
    "bpf": "work with programs in the kernel (bpf)",
    "perf_event_open": "measure what runs on this machine (perf)",
    "init_module finit_module": "load a kernel module",
    "reboot": "stop or restart this machine",
    "keyctl add_key request_key": "use the kernel's keys",
    "io_uring_setup": "open a queue of calls that no filter sees (io_uring)",
    "seccomp": "add a filter of its own",
    "sethostname setdomainname": "rename this machine",
    "settimeofday clock_settime adjtimex clock_adjtime": "set the clock",
}
_BY_CALL = {call: template for calls, template in _TEMPLATES.items() for call in calls.split()}
_OPEN = frozenset(("open", "openat", "openat2", "creat"))
_EXEC = frozenset(("execve", "execveat"))


def in_words(call: Call) -> str:
    """What ``call`` would do, and to what. Counts as a look at the target's memory. Raises `Gone`."""
    call.reads = True
    if call.name in _OPEN:
        return _opening(call)
    if call.name in _EXEC:
        return _executing(call)
    template = _BY_CALL.get(call.name)
    if template is None:
        return _by_group(call)
    out, rest = "", template
    while rest:
        text, brace, rest = rest.partition("{")
        out += text
        if brace:
            name, _, rest = rest.partition("}")
            out += _operand(call, name)
    return out


def _operand(call: Call, name: str) -> str:
    """One blank of a template filled in."""
    prototype = call.prototype
    if prototype is None:
        return "?"
    if name in ("path", "path2"):
        paths = [parameter.name for parameter in prototype.parameters if parameter.kind == "path"]
        # symlink(target, linkpath) and mount(source, target): whatever is a string counts in order
        index = 0 if name == "path" else 1
        return _path(call, paths[index]) if index < len(paths) else "something"
    if name == "address":
        for parameter in prototype.parameters:
            if parameter.kind == "sockaddr":
                return _address(call, parameter.name)
        return "an address"
    found = _operation(prototype) if name == "op" else prototype.parameter(name)
    return str(call.args[found.name]) if found is not None else "?"


def _operation(prototype: Prototype) -> Parameter | None:
    found = (prototype.parameter(name) for name in ("op", "operation", "request", "cmd", "option"))
    return next((one for one in found if one is not None), None)


def _path(call: Call, name: str) -> str:
    try:
        path = call.path(name)
    except Unreadable:
        return "<unreadable>"
    if path is None:
        return "NULL"
    raw = os.fsencode(path)
    if not raw:
        return "an open file"
    shown = quote(raw, _LONGEST)
    if raw.startswith(b"/"):
        return shown
    directory = call.cwd if _from_here(call) else None
    return f"{shown} in {quote(os.fsencode(directory), _LONGEST)}" if directory else shown


def _from_here(call: Call) -> bool:
    """Whether relative paths of the call start in the current directory."""
    prototype = call.prototype
    for parameter in prototype.parameters if prototype is not None else ():
        if parameter.name.endswith("dirfd"):
            return int(call.args[parameter.name]) == AT_FDCWD
    return True


def _address(call: Call, name: str) -> str:
    try:
        address = call.sockaddr(name)
    except Unreadable:
        return "<unreadable>"
    return "nobody in particular" if address is None else quote(str(address).encode("utf-8", "surrogateescape"), _LONGEST)


def _opening(call: Call) -> str:
    path = _path(call, "pathname")
    if call.name == "creat":
        return f"make or empty {path}, and write it"
    if call.name == "openat2":
        return f"open {path}"
    flags = set(str(call.args["flags"]).split("|"))
    how = "read and write" if "O_RDWR" in flags else "write" if "O_WRONLY" in flags else "read"
    if "O_TMPFILE" in flags:
        return f"make a nameless file in {path}"
    if "O_PATH" in flags:
        return f"get hold of {path} without opening it"
    extra = [words for flag, words in (("O_CREAT", "making it if it is not there"), ("O_TRUNC", "emptying it")) if flag in flags]
    return f"open {path} to {how}" + (f", {' and '.join(extra)}" if extra else "")


def _executing(call: Call) -> str:
    path = _path(call, "pathname")
    try:
        words = call.argv("argv")
    except (Unreadable, KeyError):
        return f"run {path}"
    shown = " ".join(quote(os.fsencode(word), _LONGEST // 4) for word in words[:_MOST_WORDS])
    more = f" and {len(words) - _MOST_WORDS} words more" if len(words) > _MOST_WORDS else ""
    return f"run {path}" + (f" as {shown}{more}" if words else "")


def _by_group(call: Call) -> str:
    from seclude.policy.groups import GROUPS

    for name, group in GROUPS.items():
        if call.name in group.calls and not group.systemd:
            return f"call {call.name} ({name}: {group.about})"
    return f"call {call.name}"
