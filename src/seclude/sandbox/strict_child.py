"""The child of `seclude.sandbox.strict`: prepare everything, enter strict mode, call, write, exit.

After the switch the kernel lets through read, write, exit and rt_sigreturn only, so nothing may be left to do: no memory to ask for, no module
to import, no name to look up. How each is prepared stands beside the code.

The allocators. The C library's gets its heap in advance and may neither map nor trim. Python's small objects, and its own stack, live in arenas that it
gets by mmap; from here on they come out of that heap, through the allocator of PYMEM_DOMAIN_RAW, whose functions happen to have the signature
that arenas want. Arenas from before must never become empty, since the new allocator would be asked to free them.
"""

from __future__ import annotations

import ctypes
import errno as _errno
import gc
import os
import sys

from seclude.errors import KernelError, UsageError
from seclude.kernel import libc, prctl, proc, seccomp
from seclude.sandbox.plain import OURS, PlainError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

__all__ = ["confine", "exception", "serve"]

SIGKILL = 9
SIG_MAX = 64
PINNED = 400  # bytes in an object of the largest size class (512 with its header), so that few fill a pool
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h


class _RawAllocator(ctypes.Structure):
    """PyMemAllocatorEx (Include/cpython/pymem.h)."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free"))


class _ArenaAllocator(ctypes.Structure):
    """PyObjectArenaAllocator (Include/cpython/objimpl.h): alloc(ctx, size), free(ctx, address, size)."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("ctx", "alloc", "free"))


def serve() -> NoReturn:
    """The spawned interpreter: read the job from descriptor 0, import the function, go on as a fork would."""
    size = int.from_bytes(_read_exactly(0, 8), "little")
    path, module, name, args, keywords, heap, limit = decode(_read_exactly(0, size), OURS)
    result = os.dup(1)
    os.dup2(2, 1)  # what an import prints does not belong into the result
    sys.path[:] = path
    try:
        __import__(module)
        function = sys.modules[module]
        for part in name.split("."):
            function = getattr(function, part)
        status = proc.status()
        if status is None or status.threads != 1:
            raise UsageError(f"importing {module} started threads, and strict mode would confine only one of them")
        libc.number("exit")
    except BaseException as error:  # noqa: BLE001 - whatever the import raises is the caller's to read
        text = str(error) if isinstance(error, UsageError) else f"cannot import {name} from {module}: {type(error).__name__}: {error}"
        _write_frame(result, b"I", encode(text[:4000], 1 << 20))
        os._exit(0)
    confine(function, args, keywords, heap, limit, 0, result)  # type: ignore[arg-type]


def _read_exactly(descriptor: int, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = os.read(descriptor, min(size - len(received), 1 << 20))
        if not piece:
            os._exit(70)
        received += piece
    return bytes(received)


def confine(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    keywords: dict[str, Any],
    heap: int,
    limit: int,
    go: int,
    result: int,
) -> NoReturn:
    """In the child, which has one thread: wait to be seized, prepare, enter strict mode, call, write, exit.

    One frame from the change of the arena allocator to the exit, on purpose: the interpreter's own stack lives in arenas too, and a
    piece from before that is left after it would be freed by the wrong allocator.
    """
    try:
        prctl.set_parent_death_signal(SIGKILL)
        if not os.read(go, 1):
            os._exit(70)  # the parent is gone
        _close_all_but(result)
        _reset_signals()
        gc.disable()
        gc.freeze()
        held = _reachable(function, args, keywords)
        leave, number = libc.libc.syscall, ctypes.c_long(libc.number("exit"))
        status = ctypes.c_long(0)
        raw, arena = _RawAllocator(), _ArenaAllocator()
        _warm()
        low, high = _prepare_heap(heap)
        args, keywords = _rebuilt((args, keywords))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent can say it and this process cannot
        _give_up(result, error)
    api = ctypes.pythonapi
    get_allocator, set_arena_allocator = api.PyMem_GetAllocator, api.PyObject_SetArenaAllocator
    get_allocator(0, ctypes.byref(raw))  # PYMEM_DOMAIN_RAW: the C allocator, behind the signature that arenas want
    arena.ctx, arena.alloc, arena.free = raw.ctx, raw.malloc, raw.free
    set_arena_allocator(ctypes.byref(arena))
    # From here on this frame calls, and never returns. Every pool that is free in an arena from before gets an object of ours, so that no such
    # arena becomes empty; the first object on the new heap says that none is left.
    pins = [bytes(PINNED)]
    while not low <= id(pins[-1]) < high:
        pins.append(bytes(PINNED))
    try:
        seccomp.enter_strict()
    except KernelError as error:
        _give_up(result, error)
    try:
        kind, payload = b"R", encode(function(*args, **keywords), limit)
    except PlainError as error:
        kind, payload = b"U", encode(str(error), 1 << 20)
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are carried back like any other
        kind, payload = b"E", exception(error)
    try:  # noqa: SIM105
        _write_frame(result, kind, payload)
    except BaseException:  # noqa: BLE001, S110 - the parent is gone or the function closed the pipe: there is nobody to tell
        pass
    leave(number, status)
    raise SystemExit(held)  # never reached; names what must live until here


def _give_up(result: int, error: Exception) -> NoReturn:
    """Before the switch: tell the parent why there will be none."""
    if isinstance(error, KernelError):
        said = (error.diagnostics[0].message, error.diagnostics[0].remedy, error.errno)
    else:
        said = (f"the child could not be prepared: {type(error).__name__}: {error}"[:2000], "", 0)
    _write_frame(result, b"K", encode(said, 1 << 20))
    os._exit(0)


def _write_frame(descriptor: int, kind: bytes, payload: bytearray) -> None:
    for piece in (kind + len(payload).to_bytes(8, "little"), payload):
        view = memoryview(piece)
        while view:
            view = view[os.write(descriptor, view) :]


def _close_all_but(result: int) -> None:
    os.closerange(0, result)
    if libc.syscall("close_range", result + 1, 0xFFFFFFFF, 0) < 0:  # Linux 5.9
        for name in os.listdir("/proc/self/fd"):
            if int(name) != result:
                os.closerange(int(name), int(name) + 1)  # ignores what is closed already, as the listing's own descriptor


def _reset_signals() -> None:
    """Every signal as at the start of a program: a handler of the host (faulthandler's, a Python function) must not run here."""
    import _signal  # type: ignore[import-not-found]

    for number in range(1, SIG_MAX + 1):
        try:
            _signal.signal(number, _signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP, and those that the C library keeps
    _signal.set_wakeup_fd(-1)


def _prepare_heap(heap: int) -> tuple[int, int]:
    """Have the C allocator get ``heap`` bytes now and never ask again; first address of the heap and the first after it.

    Needs glibc, whose mallopt(3) can promise that, and a Python whose objects live in arenas (the free-threaded build has its own allocator).
    """
    if "t" in sys.abiflags:
        raise KernelError("the free-threaded Python's allocator cannot be given a fixed heap", "use the ordinary build of Python")
    library = ctypes.PyDLL(None)
    if not hasattr(library, "mallopt"):
        raise KernelError("the C library's allocator cannot be given a fixed heap (it has no mallopt)", "run on a system with glibc")
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = (ctypes.c_size_t,)
    library.free.argtypes = (ctypes.c_void_p,)
    library.free.restype = None
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1)):
        library.mallopt(option, value)
    block = library.malloc(heap)
    if not block:
        raise KernelError(
            f"no heap of {heap} bytes is to be had", "ask for less memory=, or raise the limits of this process", _errno.ENOMEM
        )
    library.free(block)
    library.sbrk.restype = ctypes.c_void_p
    library.sbrk.argtypes = (ctypes.c_ssize_t,)
    start, end = proc.heap_start() or block, library.sbrk(0)
    # The C library maps a heap elsewhere where brk(2) found no room.
    return (start, end) if start <= block < end else (block, block + heap)


def _warm() -> None:
    """Use once what takes a lock at its first use.

    Python 3.12 sets up the argument parser of a C function with keywords under a lock at the first call, and taking a lock reads the clock there.
    Done here for what the result needs and for the built-ins that computations use most; other functions must have been called before.
    """
    encode((1, -(1 << 99), 1.5, 2j, "x", b"x", bytearray(b"x"), [1], {1: 2}, {1}, frozenset({1})), 1 << 16)
    str(memoryview(b"x"), "utf-8", errors="strict").encode(encoding="utf-8", errors="strict").decode(encoding="utf-8")
    int.from_bytes((1).to_bytes(length=2, byteorder="big", signed=True), byteorder="big", signed=True)
    numbers = sorted([2, 1], key=abs, reverse=True)
    numbers.sort(key=abs, reverse=False)
    sum(numbers, start=1), min(numbers, key=abs), max(numbers, key=abs, default=0), round(1.25, ndigits=1), pow(2, exp=3, mod=5)
    dict(zip(enumerate(numbers, start=1), reversed(numbers), strict=False))
    int("11", base=2), bytes("x", encoding="ascii"), bytearray("x", encoding="ascii"), complex(real=1, imag=2)
    ["a", "b"], ["a", "b"], "a\nb".splitlines(keepends=True), "a\tb".expandtabs(tabsize=4), f"{1}"
    b"a b".split(sep=b" "), b"a b".rsplit(sep=b" "), b"ab".hex(sep="-"), memoryview(b"ab").tobytes(order="C")


_LEAVES = frozenset({int, float, complex, str, bytes, bool, type(None)})


def _reachable(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
    """Everything that the function can reach as data: held, so that no arena from before is emptied by what it drops.

    Code and modules are left out, being kept by the interpreter.
    """
    code = (type, type(gc), type(_reachable), type(len))
    inner = getattr(function, "__func__", function)
    level: list[Any] = [args, keywords, getattr(function, "__self__", None)]
    level += [cell for name in ("__closure__", "__defaults__", "__kwdefaults__") for cell in (getattr(inner, name, None) or ())]
    level += list(getattr(inner, "__globals__", {}).values())
    held: list[Any] = []
    seen: set[int] = set()
    while level:
        held.append(level)
        fresh = []
        for value in level:
            if type(value) not in _LEAVES and not isinstance(value, code) and id(value) not in seen:
                seen.add(id(value))
                fresh.append(value)
        level = gc.get_referents(*fresh)
    return held


def _rebuilt(value: Any) -> Any:
    """``value`` with every list, dict, set, tuple and bytearray in it copied onto the new heap, what is shared staying shared."""
    try:
        return _copy(value, {})
    except RecursionError:
        return value  # deeper than this stack: what is not rebuilt works as long as it is not changed


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _LEAVES or kind not in _REBUILT:
        return value
    if id(value) in memo:
        return memo[id(value)]
    copy: Any
    if kind is list:
        copy = memo[id(value)] = []
        copy += [item if type(item) in _LEAVES else _copy(item, memo) for item in value]
    elif kind is dict:
        copy = memo[id(value)] = {}
        copy.update((key, _copy(item, memo)) for key, item in value.items())
    elif kind is tuple:
        copy = memo[id(value)] = tuple([item if type(item) in _LEAVES else _copy(item, memo) for item in value])
    else:
        copy = memo[id(value)] = kind(value)
    return copy


_REBUILT = frozenset({list, dict, set, tuple, bytearray})


def exception(error: BaseException) -> bytearray:
    """Name, text and places of an exception; no file is read, and what its str() does is its own business."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - a __str__ that fails must not hide the exception
        text = "(its text cannot be made)"
    places: list[str] = []
    trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename}:{trace.tb_lineno} in {code.co_qualname}"[:300])
        if len(places) > 60:
            del places[30]  # recursion: the first and the last are what counts
        trace = trace.tb_next
    return encode((name[:300], text[:20000], places), 1 << 22)
