"""One call that waits for a verdict, as a handler sees it.

The problem: a target's memory can change while it is looked at, and its thread can be gone and its number another's. So everything here is
lazy, bounded, and a copy: each pointer is read once, whatever is asked of it later comes from that copy, and after every read the engine is asked
whether the call still waits; if not, `Gone` ends the handler, and nothing that it saw counts. ``reads`` tells whether anything was looked at
that the target could change before the kernel looks: then the call cannot be let run (`Allow`) on the strength of it.

What can still go wrong: a target that made itself non-dumpable, or whose user is another, cannot be read. That is `Unreadable`, and
unless the handler deals with it, the call is denied.
"""

from __future__ import annotations

import errno
import os

from seclude.supervise.arguments import Argument, Arguments, Credentials
from seclude.supervise.describe import architecture

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable
    from typing import Literal

    from seclude.abi.prototypes import Prototype
    from seclude.kernel.proc import Status
    from seclude.kernel.protocol import Kernel
    from seclude.supervise.address import Address

    Raw = bytes  # within the class the word is a method

__all__ = ["Argument", "Arguments", "Call", "Credentials", "Gone", "Unreadable"]

PATH_MAX = 4096  # linux/limits.h, the NUL included
_ARGUMENTS_MOST = 4096  # words of an argv that are read
_ARGUMENT_LONGEST = 32 * 4096  # MAX_ARG_STRLEN (linux/binfmts.h)
_IOV_MAX = 1024  # linux/uio.h
_BYTES_MOST = 1 << 20  # of one `iovecs` or `argv`, together
_PAGE = 4096  # the smallest: mappings end at its multiples
_ADDRESS = 128  # sizeof(struct sockaddr_storage)


class Gone(Exception):  # noqa: N818 - an outcome, not a fault
    """The call does not wait any more: its thread was killed or interrupted. What was read from it is worthless."""


class Unreadable(Exception):  # noqa: N818 - the target's doing
    """Memory that a call points to cannot be read. ``errno`` is what the kernel would answer: EFAULT where the pointer is bad, ENAMETOOLONG
    for a path without an end, or EPERM where the target's memory is not ours to read.
    """  # fmt: skip

    def __init__(self, errno: int, what: str) -> None:
        super().__init__(what)
        self.errno = errno


class Call:
    """One call. ``tid`` is the calling thread in the supervisor's pid namespace, ``token`` and ``nr`` are as a filter sees them, ``ip`` is the instruction pointer,
    ``raw`` the six argument registers; ``data`` is what the policy's trace(n) carries, 0 for notify.
    """  # fmt: skip

    __slots__ = (
        "_address", "_argv", "_bytes", "_iovecs", "_links", "_path", "_prototype", "_raw_path", "_status", "_waiting", "arch", "data", "id", "ip", "kernel", "nr",
        "raw", "reads", "reads_more", "tid", "token", "written",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel, tid: int, token: int, nr: int, ip: int, raw: tuple[int, ...], waiting: Callable[[], bool], data: int = 0
    ) -> None:
        self.kernel = kernel
        self.tid = tid
        self.token = token
        self.nr = nr
        self.ip = ip
        self.raw = raw
        self.data = data
        self.arch = architecture(token, nr)
        #: the notification's id; 0 where there is none
        self.id = 0
        self.reads = False
        #: whether something was read that nobody can be given back as it was: more than paths and addresses as a whole
        self.reads_more = False
        self.written: list[tuple[int, Raw]] = []
        self._waiting = waiting
        self._status: Status | None = None
        self._prototype: Prototype | Literal[False] | None = False
        self._links: dict[str, str | None] = {}
        self._path: dict[int, str | None] = {}
        self._raw_path: dict[int, bytes] = {}
        self._address: dict[int, Address | None] = {}
        self._argv: dict[int, list[str]] = {}
        self._iovecs: dict[int, list[builtins.bytes]] = {}
        self._bytes: dict[int, builtins.bytes] = {}

    def __repr__(self) -> str:
        return f"<Call {self.name} of thread {self.tid}>"

    # -- what came with the call itself

    @property
    def name(self) -> str:
        """The call's name; ``#N`` where the tables have none."""
        return (self.arch.call_name(self.nr) if self.arch is not None else None) or f"#{self.nr}"

    @property
    def prototype(self) -> Prototype | None:
        """The call's parameters, or None where the tables have none."""
        if self._prototype is False:
            from seclude.abi.prototypes import prototype

            self._prototype = None if self.arch is None else prototype(self.arch, self.name)
        return self._prototype

    @property
    def args(self) -> Arguments:
        """The arguments, typed: ``call.args["flags"]``, ``call.args[2]``."""
        return Arguments(self.raw, self.prototype, self.arch)

    @property
    def copies(self) -> tuple[dict[int, Raw], dict[int, Raw]]:
        """The paths and addresses that were read, by where they lay: what another process needs to act on the same copies."""
        return dict(self._raw_path), {at: one.raw for at, one in self._address.items() if one is not None}

    def adopt(self, paths: dict[int, Raw], addresses: dict[int, Raw]) -> None:
        """Take copies that another process read of this call for those that were read."""
        from seclude.supervise.address import Address

        self._raw_path |= paths
        self._address |= {at: Address(raw, self._byteorder) for at, raw in addresses.items()}
        self.reads = True

    def waits(self) -> bool:
        """Whether the call still waits for its verdict."""
        return self._waiting()

    # -- who called

    @property
    def status(self) -> Status:
        """/proc/TID/status of the calling thread, read once. Raises `Gone`."""
        if self._status is None:
            found = self.kernel.status(self.tid) if self.tid > 0 else None
            self._check()
            if found is None:
                raise Unreadable(errno.EPERM, f"the status of thread {self.tid} cannot be read")
            self._status = found
        return self._status

    @property
    def pid(self) -> int:
        """The process (thread group) of the calling thread."""
        return self.status.tgid or self.tid

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.status)

    @property
    def exe(self) -> str | None:
        """The program that the process runs, or None where it cannot be told. A path as the kernel prints it; " (deleted)" may follow."""
        return self._link("exe")

    @property
    def cwd(self) -> str | None:
        """The process's current directory, or None. Another thread may change it the next instant: it counts as a read."""
        self.reads = self.reads_more = True
        return self._link("cwd")

    def _link(self, name: str) -> str | None:
        if name not in self._links:
            found = self.kernel.link(self.tid, name) if self.tid > 0 else None
            self._check()
            self._links[name] = None if found is None else os.fsdecode(found)
        return self._links[name]

    # -- what the arguments point to

    def path(self, name: str | int) -> str | None:
        """The path that a parameter points to (surrogateescape); None for NULL. Raises `Unreadable`, ENAMETOOLONG without a NUL in 4096 bytes."""
        address = self._pointer(name)
        if address not in self._path:
            self._path[address] = None if address == 0 else os.fsdecode(self.path_at(address))
        return self._path[address]

    def path_at(self, address: int) -> bytes:
        """The path at an address, raw: what `path` gives, for those who know the registers. Raises `Unreadable`, EFAULT for NULL."""
        known = self._raw_path.get(address)
        if known is None:
            if address == 0:
                raise Unreadable(errno.EFAULT, "NULL where a path belongs")
            known = self._raw_path[address] = self._string(address, PATH_MAX, errno.ENAMETOOLONG)
        return known

    def sockaddr(self, name: str | int, length: int | None = None) -> Address | None:
        """The address that a parameter points to, its length taken from the parameter after it (or ``length``); None for NULL. Raises `Unreadable`."""
        address = self._pointer(name)
        if address not in self._address:
            from seclude.supervise.address import Address

            if length is None:
                length = self._count_after(name)
            else:
                self.reads_more = True  # it need not be what the call itself would read
            if not 0 <= length <= _ADDRESS:
                raise Unreadable(errno.EINVAL, f"an address of {length} bytes")  # net/socket.c, move_addr_to_kernel
            raw = None if address == 0 else self._read(address, length)
            self._address[address] = None if raw is None else Address(raw, self._byteorder)
        return self._address[address]

    def argv(self, name: str | int) -> list[str]:
        """The words of a NULL-terminated array of strings (argv, envp); empty for NULL. Raises `Unreadable`, also E2BIG beyond 4096 words or 1 MiB."""
        address = self._pointer(name)
        self.reads_more = True
        if address not in self._argv:
            words: list[str] = []
            room, size = _BYTES_MOST, self._pointer_size
            while address:
                at = address + len(words) * size
                pointer = int.from_bytes(self._read(at, size), self._byteorder)
                if pointer == 0:
                    break
                word = self._string(pointer, min(_ARGUMENT_LONGEST, room), errno.E2BIG)
                words.append(os.fsdecode(word))
                room -= len(word) + 1
                if room <= 0 or len(words) > _ARGUMENTS_MOST:
                    raise Unreadable(errno.E2BIG, "the array of strings is too long")
            self._argv[address] = words
        return list(self._argv[address])

    def iovecs(self, name: str | int, limit: int = _BYTES_MOST) -> list[builtins.bytes]:
        """What the buffers of a ``struct iovec`` array hold, its count taken from the parameter after it; together at most ``limit`` bytes, the rest is cut.

        Raises `Unreadable`, also EINVAL for more than 1024 buffers.
        """
        address = self._pointer(name)
        self.reads_more = True
        if address not in self._iovecs:
            count, size = self._count_after(name), self._pointer_size
            if not 0 <= count <= _IOV_MAX:
                raise Unreadable(errno.EINVAL, f"{count} buffers")
            raw = self._read(address, count * 2 * size)
            pieces = []
            for at in range(0, len(raw), 2 * size):
                base = int.from_bytes(raw[at : at + size], self._byteorder)
                length = int.from_bytes(raw[at + size : at + 2 * size], self._byteorder)
                pieces.append(self._read(base, min(length, limit)))
                limit -= len(pieces[-1])
            self._iovecs[address] = pieces
        return list(self._iovecs[address])

    def bytes(self, name: str | int, size: int) -> builtins.bytes:
        """The first ``size`` bytes that a parameter points to; asked again, what was read the first time. Raises `Unreadable`, also where fewer can be read."""
        address = self._pointer(name)
        self.reads_more = True
        known = self._bytes.get(address)
        if known is None or len(known) < size:
            if known is not None:
                raise ValueError(f"{size} bytes of {name!r} asked for after {len(known)} were read: memory is read once only")
            known = self._bytes[address] = self._read(address, size)
        return known[:size]

    def copy(self, address: int, size: int) -> Raw:
        """``size`` bytes at an address that was found in other memory, such as a structure; not kept, so ask for each once. Raises `Unreadable` and `Gone`.

        Of an address that `sockaddr` read it is that copy.
        """
        known = self._address.get(address)
        if known is not None:
            if len(known.raw) != size:
                raise ValueError(f"{size} bytes asked for at an address of which {len(known.raw)} were read: memory is read once only")
            return known.raw
        self.reads_more = True
        return self._read(address, size)

    # -- what the call is answered with

    def write(self, name: str | int, data: Raw) -> None:
        """Have ``data`` in the memory that a parameter points to when the call returns: what a call that is emulated gives back beside its result.

        It is written with the answer, and only with a `Return` that is no error (the result of an `Emulate` is one); where the target cannot write there itself, the
        call fails with EFAULT, as the kernel's would. Raises ValueError for a NULL pointer, for more than the parameter after it says there is room for,
        and beyond 1 MiB for one call: then the handler is at fault, and the call is denied.
        """
        address = self._pointer(name)
        if address == 0:
            raise ValueError(f"nothing can be written to {name!r}: it is NULL")
        room = _BYTES_MOST - sum(len(piece) for _, piece in self.written)
        if self.prototype is not None:
            parameters = self.prototype.parameters
            after = parameters.index(self.args.parameter(name)) + 1
            if after < len(parameters) and parameters[after].kind == "size":
                room = min(room, parameters[after].value(self.raw))
        if len(data) > room:
            raise ValueError(f"{len(data)} bytes for {name!r}, which has room for {room}")
        self.written.append((address, data))

    def deliver(self, *, held: bool) -> bool:
        """For engines: put in place what was to be written. ``held``: the thread stands still for its tracer. False where the memory does not take it. Raises `Gone`."""
        for address, data in self.written:
            written = self.kernel.write(self.tid, address, data, None if held else self._waiting)
            if written is None:
                raise Gone
            if not written:
                return False
        return True

    def describe(self) -> str:
        """The call as strace(1) would print it, with what its pointers show. It counts as a read."""
        from seclude.supervise.describe import as_strace

        self.reads = self.reads_more = True
        text = as_strace(self.kernel, self.tid, self.token, self.nr, self.raw)
        self._check()
        return text

    # -- reading

    @property
    def _byteorder(self) -> Literal["little", "big"]:
        return "big" if self.arch is not None and self.arch.byteorder == "big" else "little"

    @property
    def _pointer_size(self) -> int:
        # x32 has 64-bit registers, but 32-bit pointers in memory
        return 8 if self.arch is not None and self.arch.bits == 64 and not self.arch.x32_bit else 4

    def _pointer(self, name: str | int) -> int:
        if self.prototype is None and isinstance(name, int):
            return self.raw[name]
        return self.args.parameter(name).value(self.raw)

    def _count_after(self, name: str | int) -> int:
        """The length or count that belongs to a pointer: the value of the next parameter (connect, bind, sendto, writev have it there)."""
        arguments = self.args
        index = arguments.names.index(arguments.parameter(name).name)
        for following in range(index + 1, len(arguments)):
            if arguments.parameter(following).kind != "pointer":
                return int(arguments[following])
        raise KeyError(f"{self.name}: no parameter after {name!r} holds its length")

    def _check(self) -> None:
        if not self._waiting():
            raise Gone

    def _read(self, address: int, size: int) -> builtins.bytes:
        """Exactly ``size`` bytes."""
        self.reads = True
        if size == 0:
            return b""
        raw = self.kernel.read(self.tid, address, size) if self.tid > 0 else None
        self._check()
        if raw is None or len(raw) < size:
            raise self._unreadable(address)
        return raw

    def _string(self, address: int, limit: int, too_long: int) -> builtins.bytes:
        """A string with its NUL within ``limit`` bytes, without it."""
        self.reads = True
        raw = self.kernel.read_string(self.tid, address, limit) if self.tid > 0 else None
        self._check()
        if raw is None:
            raise self._unreadable(address)
        if len(raw) >= limit:
            raise Unreadable(too_long, f"no end within {limit} bytes at {address:#x}")
        end = address + len(raw)
        if end % _PAGE == 0 and self.kernel.read(self.tid, end, 1) is None:
            raise self._unreadable(end)  # it ends where its mapping ends, not with a NUL
        return raw

    def _unreadable(self, address: int) -> Unreadable:
        readable = self.tid > 0 and self.kernel.read(self.tid, self.ip, 1) is not None
        self._check()
        if readable:
            return Unreadable(errno.EFAULT, f"nothing can be read at {address:#x}")
        return Unreadable(errno.EPERM, "the target's memory is not ours to read")
