"""Handlers and a program that both engines are tried with."""

from __future__ import annotations

import os
from pathlib import Path

from run_support import ALLOW, public

__all__ = ["ALL", "POLICY", "VICTIM", "handlers"]

VICTIM = (Path(__file__).parent / "live" / "engine_victim.c").read_text()
HANDLERS = """
import asyncio
import errno
import os
import threading

from seclude.supervise import Allow, Deny, Emulate, Inject, Kill, Return, Rewrite, Skip, handler

LOG = {log!r}
begun, free = threading.Event(), threading.Event()
done = 0


def log(line):
    with open(LOG, "a") as file:
        file.write(line + "\\n")


def full(call):
    raise OSError(errno.ENOSPC, "full")


ANSWERS = {{
    5000000: Allow(),  # nobody's: beyond the largest pid there can be
    11: Deny("EACCES", "eleven"),
    12: Return(1212),
    14: Kill("fourteen"),
    15: Emulate(lambda call: 1515),
    16: Emulate(full),
    17: Emulate(lambda call: Deny("EXDEV")),
    19: Return(-4095),
    20: Return((1 << 40) + 7),
    21: Emulate(lambda call: "no number"),
}}


@handler("getpgid", may={{Allow, Deny, Return, Kill, Emulate}})
def decide(call):
    number = int(call.args["pid"])
    if number == 13:
        raise RuntimeError("thirteen")
    if number == 18:
        return Skip(18)  # not declared
    if number == 22:
        return Return(64 if call.arch.bits == 64 else 32)
    return ANSWERS.get(number) or Allow()


@handler("getsid", may={{Allow, Return, Emulate, Deny}}, threads=True)
def slow(call):
    global done
    number = int(call.args["pid"])
    if number == 30:
        def late(call):
            begun.set()
            return 30 if free.wait(30) else -1

        return Emulate(late, undo=lambda call, value: log(f"undone {{value}}"))
    if number == 31:
        free.set()
    if number == 32 and not begun.wait(30):
        return Deny("ETIMEDOUT")
    if number == 35:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        log(f"{{len(os.listdir('/proc/self/fd'))}} {{pages}} {{len(os.listdir('/proc/self/task'))}}")
    if number == 33:
        done += 1
        threading.Event().wait(0.002)
        return Return(done)
    return Return(number)


@handler("getpriority", may={{Return, Deny}})
async def later(call):
    await asyncio.sleep(0)
    if call.args["which"] == 1:
        raise ValueError("async")
    return Return(int(call.args["who"]))


@handler("getppid", may={{Return}})
def data(call):
    return Return(call.data)


@handler("getcwd", may={{Emulate}})
def place(call):
    def there(call):
        call.write("buf", b"/place\\0")
        return 7

    return Emulate(there)


@handler("chdir")
def looked(call):
    return Deny("ENOENT") if call.path("path") == "/gone" else Allow()


@handler("getpgid", may={{Allow, Rewrite, Skip}})
def other(call):
    number = int(call.args["pid"])
    if number == 5000000:
        return Allow()
    return Skip(1212) if number == 12 else Rewrite({{"pid": number - 100}})


@handler("getpgid", may={{Inject}})
def give(call):
    return Inject(0, close=False)


@handler("mkdir", may={{Allow, Deny}})
def quick(call):
    log(f"deciding {{os.getpid()}}")
    if call.args["mode"] == 0o700:
        free.wait(60)
    return Allow()


@handler("mkdir", may={{Allow, Deny}}, threads=True)
def pooled(call):
    return quick.function(call)
"""
POLICY = ALLOW + "notify getpgid, getsid, getpriority, getcwd, chdir\ntrace(7) getppid\n"
ALL = ("decide", "slow", "later", "data", "place", "looked")


def handlers(log: Path, *names: str) -> tuple[str, ...]:
    """The options that name these handlers; what they have to say goes to ``log``."""
    # A name for each text: what was compiled before is known by the file's size and its time in seconds.
    path = public() / f"engines{os.getpid()}{abs(hash(log)):x}.py"
    if not path.exists():
        path.write_text(HANDLERS.format(log=str(log)))
        path.chmod(0o644)
    return tuple(word for name in names for word in ("--handler", f"{path}:{name}"))
