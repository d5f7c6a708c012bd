"""The model and the running kernel are told the same things, and must answer the same: run by ``test_model_differential.py`` in a process of its own.

Usage: ``differential.py PUPPET OPERATIONS SEED caller|nobody``. Prints how many operations were compared, and how often each kind was; the shortest sequence that ends in a
disagreement otherwise. After every operation everything that can be seen is compared: the call's result, or that it sleeps; whether every
thread lives; which signals wait; mode, filters and no_new_privs; handlers' siginfo; what poll(2) and wait(2) say; and the audit log.
"""

from __future__ import annotations

import collections
import ctypes
import os
import platform
import resource
import socket
import struct
import sys
import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from puppets import Audit, Thread, World
from seclude.bpf import Program, codes
from seclude.model import KernelModel, uapi
from seclude.model.filter import Fprog
from seclude.model.notify import AddFd, Response, SeccompNotif
from seclude.model.seccomp import Out
from seclude.model.task import CATCH, DEFAULT, IGNORE, RESTART, Credentials, Task

PATIENCE = float(os.environ.get("PATIENCE", "20"))
X86_64, I386 = 0xC000003E, 0x40000003
#: calls that filters decide about; the puppets themselves use none of them
PROBES = {"getppid": (110, 64), "getuid": (102, 24), "getpgrp": (111, 65), "sched_yield": (24, 158)}
NUMBERS = [pair[0] for pair in PROBES.values()]
COMPAT = [pair[1] for pair in PROBES.values()]
ACTIONS = [
    codes.SECCOMP_RET_ALLOW, codes.SECCOMP_RET_LOG, codes.SECCOMP_RET_ERRNO, codes.SECCOMP_RET_ERRNO | 1, codes.SECCOMP_RET_ERRNO | 4095,
    codes.SECCOMP_RET_ERRNO | 5000, codes.SECCOMP_RET_TRAP, codes.SECCOMP_RET_TRAP | 7, codes.SECCOMP_RET_TRACE | 3, codes.SECCOMP_RET_USER_NOTIF,
    codes.SECCOMP_RET_USER_NOTIF | 9, codes.SECCOMP_RET_KILL_THREAD, codes.SECCOMP_RET_KILL_PROCESS, 0x12340000, 0x90000000, 0x7FFE0000,
]  # fmt: skip
#: what is drawn more often than the rest: worlds in which everybody dies are short
LIKELY = [codes.SECCOMP_RET_USER_NOTIF] * 6 + [
    codes.SECCOMP_RET_ALLOW,
    codes.SECCOMP_RET_ERRNO | 1,
    codes.SECCOMP_RET_TRAP | 2,
    codes.SECCOMP_RET_LOG,
]
SIGNALS = [uapi.SIGUSR1, uapi.SIGUSR2, uapi.SIGSYS, uapi.SIGTERM]
HOW = [DEFAULT, IGNORE, CATCH, RESTART]
LD, JEQ, RET = 0x20, 0x15, 0x06
counts: collections.Counter[str] = collections.Counter()
LIBC = ctypes.CDLL(None)
puppet = ""


class Disagreement(AssertionError):
    """The model says one thing and the kernel another."""


def program(rules, shape):
    """A filter: ``rules`` are (call's index, action); ``shape`` how it is written."""
    if shape == "constant":
        return Program([(RET, 0, 0, codes.SECCOMP_RET_ALLOW)])
    if shape == "long":  # 4096 instructions: three fill a path
        return Program([(LD, 0, 0, 0), *[(LD, 0, 0, 4)] * 4094, (RET, 0, 0, codes.SECCOMP_RET_ALLOW)])
    code = []
    if shape == "argument":
        code += [(LD, 0, 0, 16), (JEQ, 1, 0, 7), (RET, 0, 0, codes.SECCOMP_RET_ALLOW)]
    tables = ((X86_64, NUMBERS), (I386, COMPAT)) if shape == "both" else ((X86_64, NUMBERS),)
    for token, numbers in tables:
        block = [(LD, 0, 0, 0)]
        for index, action in rules:
            block += [(JEQ, 0, 1, numbers[index]), (RET, 0, 0, action)]
        block.append((RET, 0, 0, codes.SECCOMP_RET_ALLOW))
        code += [(LD, 0, 0, 4), (JEQ, 0, len(block), token), *block]
    return Program([*code, (RET, 0, 0, codes.SECCOMP_RET_ALLOW)])


RULES = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.sampled_from(LIKELY), st.sampled_from(ACTIONS))), min_size=1, max_size=3)
SHAPES = st.sampled_from(["plain", "plain", "plain", "both", "argument", "constant", "long"])
FLAGS = st.one_of(
    st.sampled_from([0, 8, 8, 8 | 32, 8 | 32, 2, 1, 1 | 16, 8 | 1 | 16, 4, 2 | 8]),
    st.sampled_from([32, 8 | 1, 64, 0x80000000, 16, 1 | 2 | 4 | 8 | 16 | 32]),
)
PICK = st.integers(0, 23)


class Machine(RuleBasedStateMachine):
    """One experiment: a model, a world, and who is who."""

    @initialize(privileged=st.sampled_from([True, True, False]), nofile=st.sampled_from([1024, 1024, 6]))
    def begin(self, privileged, nofile):
        self.world = World(puppet)
        self.audit = Audit.open()
        self.model = KernelModel(".".join(platform.release().split(".")[:2]))
        with open("/proc/sys/kernel/seccomp/actions_logged") as file:
            self.model.actions_logged = frozenset(file.read().split())
        root = os.geteuid() == 0
        first = self.model.process("puppet", privileged=root)
        self.threads: dict[Task, Thread] = {first: self.world.first}
        self.calls = {}
        self.base = {}
        self.records = []
        self.receiving = {}
        self.selectors = collections.defaultdict(lambda: bytearray(1))
        self.nofile = nofile
        if nofile != 1024:
            # prlimit64 of the first process itself, so that all others have it
            self.world.first.tell("SYSCALL", 302, 0, 7, 0, 0)  # RLIMIT_NOFILE, read: the call is let through
            self._reply(self.world.first)
            resource.prlimit(self.world.first.pid, resource.RLIMIT_NOFILE, (nofile, 1024))
            first.process.files.limit = nofile
        if root and not privileged:
            self._drop(first)
        self._settle("start")

    # --- who can do something

    def _idle(self, pick, strict=False):
        """A task that waits for a command. Tasks in strict mode only where asked for: nearly everything kills them."""
        found = [
            task for task in self.threads
            if not task.exited and task.activity is None and task not in self.calls and (strict or task.mode != codes.SECCOMP_MODE_STRICT)
        ]  # fmt: skip
        return found[pick % len(found)] if found else None

    def _real(self, task):
        return self.threads[task]

    def _reply(self, thread):
        until = time.monotonic() + PATIENCE
        while not thread.replies:
            thread.look()
            if thread.replies:
                break
            if time.monotonic() > until:
                raise Disagreement(f"thread {thread.tid} did not answer")
            os.sched_yield()
        return thread.replies.pop(0)

    def _both(self, name, task, call, compare=None):
        """A call was told to both: keep it until both are through with it."""
        counts[name] += 1
        self.calls[task] = (name, call, compare)
        self._settle(name)

    # --- comparing

    def _number(self, task):
        """A task's number as the kernel has it."""
        return self._real(task).tid

    def _settle(self, name):
        until = time.monotonic() + PATIENCE
        spins = 0
        while True:
            wrong = self._difference()
            if wrong is None:
                break
            if time.monotonic() > until:
                raise Disagreement(f"after {name}: {wrong}\n" + "\n".join(self.model.story[-25:]))
            spins += 1
            if spins < 50:
                os.sched_yield()
            else:
                # Until somebody says something or ends; that one has fallen asleep is told by nobody, and asked again.
                self.world.wait([thread for task, thread in self.threads.items() if not task.exited])
        for task, (what, call, compare) in list(self.calls.items()):
            if call.state == "sleeping":
                continue
            del self.calls[task]
            if call.state == "returned":
                reply = self._real(task).replies.pop(0)
                self._compare(what, call, reply, compare)
        self._log()

    def _difference(self):
        """What the kernel does not show yet of what the model says; None where all agrees."""
        for task, thread in self.threads.items():
            status = thread.status()
            if task.exited or task.exiting:
                if status is not None:
                    return f"{thread.tid} should be gone"
                continue
            if status is None:
                return f"{thread.tid} is gone, and should not be"
            thread.look()
            call = self.calls[task][1] if task in self.calls else None
            if call is not None and call.state == "returned" and not thread.replies:
                return f"{self.calls[task][0]} of {thread.tid} has not returned; it should with {call.value}"
            if call is not None and call.state == "sleeping" and (thread.replies or not thread.asleep()):
                return f"{self.calls[task][0]} of {thread.tid} does not sleep: {thread.replies}"
            if call is None and thread.replies:
                return f"{thread.tid} answered what it was not asked: {thread.replies}"
            shown = {"Seccomp": status["Seccomp"], "Seccomp_filters": status["Seccomp_filters"], "NoNewPrivs": status["NoNewPrivs"]}
            wanted = {key: str(value) for key, value in task.status().items()}
            if shown != wanted:
                return f"{thread.tid}: {shown}, and the model says {wanted}"
            waiting = int(status["SigPnd"], 16)
            expected = sum(1 << info.signo - 1 for info in task.pending if info.signo in SIGNALS)
            if waiting & sum(1 << signo - 1 for signo in SIGNALS) != expected:
                return f"{thread.tid}: signals {waiting:#x} wait, and the model says {expected:#x}"
        return None

    def _compare(self, what, call, reply, compare):
        value = call.value
        if compare is not None:
            wrong = compare(call, reply)
            if wrong:
                raise Disagreement(f"{what}: {wrong}\n" + "\n".join(self.model.story[-25:]))
        elif value is not None and value != reply.result:
            raise Disagreement(f"{what}: the kernel says {reply.result}, the model {value}\n" + "\n".join(self.model.story[-25:]))

    def _log(self):
        if self.audit is None:
            return
        numbers = {str(self._number(task)): task.tid for task in self.threads}
        for one in self.audit.take():
            if one["pid"] in numbers:
                self.records.append(
                    (
                        numbers[one["pid"]],
                        int(one["sig"]),
                        int(one["arch"], 16),
                        int(one["syscall"]),
                        int(one["compat"]),
                        int(one["code"], 16),
                    )
                )

    # --- operations

    @rule(pick=PICK, args=st.sampled_from([(1,), (1,), (1,), (1,), (0,), (1, 1), (1, 0, 0, 5)]))
    def no_new_privs(self, pick, args):
        task = self._idle(pick, strict=pick % 7 == 0)
        if task is not None:
            self._real(task).tell("PRCTL", uapi.PR_SET_NO_NEW_PRIVS, *args)
            self._both("no_new_privs", task, self.model.prctl(task, uapi.PR_SET_NO_NEW_PRIVS, *args))

    @rule(pick=PICK, option=st.sampled_from([uapi.PR_GET_SECCOMP, uapi.PR_GET_NO_NEW_PRIVS]), args=st.sampled_from([(), (), (1,)]))
    def ask_prctl(self, pick, option, args):
        task = self._idle(pick, strict=pick % 7 == 0)
        if task is not None:
            self._real(task).tell("PRCTL", option, *args)
            self._both("ask", task, self.model.prctl(task, option, *args))

    @rule(pick=PICK, rules=RULES, shape=SHAPES, flags=FLAGS)
    def load(self, pick, rules, shape, flags):
        self._load(pick, program(rules, shape), flags)

    @rule(pick=PICK, rules=RULES, flags=st.sampled_from([8, 8 | 32]))
    def load_with_listener(self, pick, rules, flags):
        self._load(pick, program(rules, "plain"), flags)

    def _load(self, pick, code, flags):
        task = self._idle(pick)
        if task is not None:
            self._real(task).tell("SECCOMP", codes.SECCOMP_SET_MODE_FILTER, flags, 1, payload=code.to_bytes())
            call = self.model.seccomp(task, codes.SECCOMP_SET_MODE_FILTER, flags, code)
            self._both("load", task, call, self._loaded(flags))

    def _loaded(self, flags):
        def compare(call, reply):
            value = call.value
            if flags & 1 and not flags & 16 and value > 0:  # TSYNC: the thread in the way
                value = next(thread.tid for task, thread in self.threads.items() if task.tid == value)
            return "" if value == reply.result else f"the kernel says {reply.result}, the model {value}"

        return compare

    @rule(pick=PICK, mode=st.sampled_from([2, 2, 2, 1, 0, 7]), rules=RULES)
    def by_prctl(self, pick, mode, rules):
        task = self._idle(pick, strict=pick % 5 == 0)
        if task is not None and (mode != 1 or pick % 3 == 0):
            code = program(rules, "plain")
            self._real(task).tell("PRCTL", uapi.PR_SET_SECCOMP, mode, 1, payload=code.to_bytes())
            self._both("prctl", task, self.model.prctl(task, uapi.PR_SET_SECCOMP, mode, code))

    @rule(
        pick=PICK,
        what=st.sampled_from(
            [("null", 0, 0), ("bad", 2, 0), ("no filter", 3, 4), ("no filter", 3, 0), ("no filter", 3, 4097), ("bad filter", 4, 3)]
        ),
        flags=st.sampled_from([0, 8, 8 | 32, 1]),
    )
    def load_what_is_not_there(self, pick, what, flags):
        task = self._idle(pick)
        if task is not None:
            kind, mode, length = what
            given = {"null": uapi.FAULT, "bad": uapi.FAULT, "no filter": Fprog(None, length), "bad filter": Fprog(uapi.FAULT, length)}[kind]
            self._real(task).tell("SECCOMP", codes.SECCOMP_SET_MODE_FILTER, flags, mode, length)
            self._both("load nothing", task, self.model.seccomp(task, codes.SECCOMP_SET_MODE_FILTER, flags, given))

    @rule(
        pick=PICK,
        word=st.sampled_from(
            [
                (0x87, 0, 0, 0),
                (0x54, 0, 0, 7),
                (LD, 0, 0, 2),
                (LD, 0, 0, 64),
                (0x15, 9, 0, 0),
                (0x60, 0, 0, 3),
                (0x34, 0, 0, 0),
                (0x94, 0, 0, 3),
            ]
        ),
    )
    def load_what_is_invalid(self, pick, word):
        task = self._idle(pick)
        if task is not None:
            code = Program([word, (RET, 0, 0, codes.SECCOMP_RET_ALLOW)])
            self._real(task).tell("SECCOMP", codes.SECCOMP_SET_MODE_FILTER, 0, 1, payload=code.to_bytes())
            self._both("load invalid", task, self.model.seccomp(task, codes.SECCOMP_SET_MODE_FILTER, 0, code))

    @rule(pick=PICK, op=st.sampled_from([2, 3, 4, 77, 0]), flags=st.sampled_from([0, 0, 1]), action=st.sampled_from(ACTIONS))
    def other_operations(self, pick, op, flags, action):
        task = self._idle(pick, strict=pick % 7 == 0)
        if task is None:
            return
        if op == 2:
            self._real(task).tell("SECCOMP", op, flags, 5, payload=struct.pack("=I", action))
            self._both("action avail", task, self.model.seccomp(task, op, flags, action))
        elif op == 3:
            out = Out()
            self._real(task).tell("SECCOMP", op, flags, 6)
            call = self.model.seccomp(task, op, flags, out)

            def compare(call, reply):
                sizes = struct.unpack_from("=HHH", reply.payload)
                fits = call.value == reply.result and (call.value != 0 or sizes == out.value)
                return "" if fits else f"the kernel says {reply.result} {sizes}, the model {call.value} {out.value}"

            self._both("sizes", task, call, compare)
        elif op != 0 or pick % 3 == 0:  # 0 is strict mode
            self._real(task).tell("SECCOMP", op, flags, 0)
            self._both("operation", task, self.model.seccomp(task, op, flags, None))

    @rule(
        pick=PICK,
        index=st.integers(0, 3),
        argument=st.sampled_from([0, 7, 7 << 32 | 7]),
        compat=st.sampled_from([False, False, False, True]),
    )
    def probe(self, pick, index, argument, compat):
        self._probe(pick, index, argument, compat)

    @rule(pick=PICK, index=st.integers(0, 3))
    def probe_again(self, pick, index):
        self._probe(pick, index, 7, False)

    @rule(pick=PICK, index=st.integers(0, 3))
    def probe_once_more(self, pick, index):
        self._probe(pick, index, 0, False)

    @rule(pick=PICK, mode=st.sampled_from([1, 1, 1, 0]), where=st.sampled_from([(0, 0), (0, 0), (0x1000, 0x1000), (0x1000, 0), (0, 5)]))
    def user_dispatch(self, pick, mode, where):
        task = self._idle(pick)
        if task is not None:
            self._dispatch(task, mode, where)

    def _dispatch(self, task, mode, where):
        # Without the byte every call of the puppet's own would be dispatched: only to turn it off.
        byte = self.selectors[task] if mode else 0
        self._real(task).tell("DISPATCH", mode, *where, mode)
        self._both("user dispatch", task, self.model.prctl(task, uapi.PR_SET_SYSCALL_USER_DISPATCH, mode, *where, byte))

    @rule(
        pick=PICK,
        index=st.integers(0, 3),
        selector=st.sampled_from([1, 1, 1, 1, 1, 1, 1, 1, 2]),
        caught=st.sampled_from([True, True, True, False]),
    )
    def probe_dispatched(self, pick, index, selector, caught):
        """A call that user dispatch takes, before any filter."""
        task = self._idle(pick)
        if task is not None and caught:
            self._sigaction(task, uapi.SIGSYS, HOW.index(CATCH))
        if task is not None and task.dispatch is None:
            self._dispatch(task, 1, (0, 0))
        if task is not None and task.dispatch is not None:
            self._probe_of(task, index, 7, False, selector)

    @rule(pick=PICK, rules=RULES)
    def probe_what_is_notified(self, pick, rules):
        """A filter with a listener, and a call of another task that it notifies."""
        self._load(pick, program(rules, "plain"), 8 | 32 * (pick % 2))
        self._fork_or_clone(pick, pick % 3 == 0)
        self._probe(pick, rules[0][0], 7, False)

    def _probe(self, pick, index, argument, compat):
        task = self._idle(pick, strict=pick % 7 == 0)
        if task is not None:
            self._probe_of(task, index, argument, compat)

    def _probe_of(self, task, index, argument, compat, selector=0):
        number = (COMPAT if compat else NUMBERS)[index]
        argument = argument & 0xFFFFFFFF if compat else argument
        self._real(task).tell("INT80" if compat else "SYSCALL", number, argument, payload=bytes([selector]) if selector else b"")
        self.selectors[task][0] = selector
        call = self.model.syscall(task, number, argument, arch=I386 if compat else X86_64)
        self.selectors[task][0] = 0
        own = NUMBERS[index] == 110 and not compat

        def compare(call, reply):
            value = call.value
            if own and call.ran:  # getppid is really executed: numbers differ
                parent = next((t for t in self.threads if t.tid == value), None)
                return "" if parent is None or self._number(parent) == reply.result else f"getppid: {reply.result}"
            if value is None or value == reply.result or (compat and value == reply.result & 0xFFFFFFFF):
                return ""
            return f"the kernel says {reply.result}, the model {value}"

        self._both("dispatched" if selector and task.dispatch is not None else "probe", task, call, compare)

    @rule(pick=PICK, thread=st.booleans())
    def fork_or_clone(self, pick, thread):
        self._fork_or_clone(pick, thread)

    def _fork_or_clone(self, pick, thread):
        task = self._idle(pick)
        if task is not None and sum(not one.exited for one in self.threads) < 8 and len(self.threads) < 20 and self._room(task):
            made = self.world.make(self._real(task), "THREAD" if thread else "FORK")
            self.threads[self.model.clone_thread(task) if thread else self.model.fork(task)] = made
            name = "clone" if thread else "fork"
            counts[name] += 1
            self._settle(name)

    def _room(self, task):
        """Whether a socket can be sent over: it needs a number for a moment."""
        files = task.process.files
        number = files.get_unused_fd()
        files.put_unused_fd(number)
        return number >= 0

    @rule(pick=PICK, status=st.integers(0, 255), group=st.sampled_from([False, False, True]))
    def exit(self, pick, status, group):
        alive = [task for task in self.threads if not task.exited]
        task = self._idle(pick, strict=pick % 5 == 0)
        if task is not None and (len(alive) > 3 or pick % 8 == 0):
            self._real(task).tell("EXIT_GROUP" if group else "EXIT", status)
            self._both("exit", task, self.model.exit_group(task, status) if group else self.model.exit(task, status))

    @rule(pick=PICK, whom=PICK, signo=st.sampled_from([*SIGNALS, uapi.SIGUSR1, uapi.SIGUSR1, uapi.SIGKILL]))
    def kill(self, pick, whom, signo):
        alive = [task for task in self.threads if not task.exited]
        if not alive:
            return
        task = alive[whom % len(alive)]
        # Worlds in which everybody dies at once are short.
        how = task.process.handlers.get(signo, DEFAULT)
        if (signo == uapi.SIGKILL or (how == DEFAULT and signo not in task.blocked)) and pick % 4:
            return
        thread = self._real(task)
        counts["kill"] += 1
        _tgkill(thread.pid, thread.tid, signo)
        self.model.kill(task, signo)
        self._settle("kill")

    @rule(pick=PICK, signo=st.sampled_from(SIGNALS), how=st.sampled_from([0, 1, 2, 3, 2, 3]))
    def sigaction(self, pick, signo, how):
        task = self._idle(pick)
        if task is not None:
            self._sigaction(task, signo, how)

    def _sigaction(self, task, signo, how):
        self._real(task).tell("SIGACTION", signo, how)
        assert self._reply(self._real(task)).result == 0
        self.model.sigaction(task, signo, HOW[how])
        counts["sigaction"] += 1
        self._settle("sigaction")

    @rule(pick=PICK, signo=st.sampled_from(SIGNALS), block=st.booleans())
    def mask(self, pick, signo, block):
        task = self._idle(pick)
        if task is None:
            return
        waits = any(info.signo == signo for info in task.pending)
        if waits and not block:
            return  # it would be taken inside the call: the model has no such call
        self._real(task).tell("SIGMASK", signo, int(block))
        assert self._reply(self._real(task)).result == 0
        (task.blocked.add if block else task.blocked.discard)(signo)
        counts["mask"] += 1
        self._settle("mask")

    @rule(pick=PICK)
    def handled(self, pick):
        task = self._idle(pick)
        if task is None:
            return
        self._real(task).tell("HANDLED")
        reply = self._reply(self._real(task))
        seen = [
            (one.signo, *((one.code, one.errno, one.syscall, one.arch) if one.signo == uapi.SIGSYS and one.code in (1, 2) else (0,) * 4))
            for one in Thread.handled(reply)
        ]
        wanted = [
            (
                info.signo,
                *((info.code, info.errno, info.syscall, info.arch) if info.signo == uapi.SIGSYS and info.code in (1, 2) else (0,) * 4),
            )
            for info in task.handled
        ]
        task.handled.clear()
        counts["handled"] += 1
        if reply.result <= 15 and seen != wanted:
            raise Disagreement(f"handlers saw {seen}, and the model says {wanted}\n" + "\n".join(self.model.story[-25:]))

    @rule(pick=PICK)
    def wait(self, pick):
        task = self._idle(pick)
        if task is None:
            return
        real, wanted = [], []
        while True:
            self._real(task).tell("WAIT")
            reply = self._reply(self._real(task))
            if reply.result <= 0:
                break
            real.append((reply.result, struct.unpack_from("=i", reply.payload)[0]))
        nobody = reply.result == -10
        numbers = {one.tid: self._number(one) for one in self.threads}
        while (got := self.model.wait(task)) not in (None, (0, 0)):
            wanted.append((numbers[got[0]], got[1]))
        counts["wait"] += 1
        # A core is not dumped for lack of a limit or for want of a place: the bit is the machine's business.
        plain = sorted((pid, status & ~0x80) for pid, status in real)
        if plain != sorted((pid, status & ~0x80) for pid, status in wanted) or nobody != (got == (0, 0)):
            raise Disagreement(
                f"wait: the kernel says {real} {reply.result}, the model {wanted} {got}\n" + "\n".join(self.model.story[-25:])
            )

    # --- listeners

    def _listener(self, pick):
        """A task and a descriptor: mostly a listener of its process, sometimes any number."""
        task = self._idle(pick)
        if task is None:
            return None, -1
        able = [
            (one, fd) for one in self.threads if not one.exited and one.activity is None and one not in self.calls and one.mode != codes.SECCOMP_MODE_STRICT
            for fd, (file, _) in one.process.files.table.items() if file.filter is not None
        ]  # fmt: skip
        return able[pick % len(able)] if able and pick % 11 else (task, pick % 7)

    def _filter(self, task, fd):
        file = task.process.files.fget(fd)
        return file.filter if file is not None else None

    def _known(self, filter):
        """The notifications of a listener that a supervisor can know of: model id, real id."""
        if filter is None or filter.notif is None or filter.number not in self.base:
            return []
        return [(one.id, one.id + self.base[filter.number] & 0xFFFFFFFFFFFFFFFF) for one in filter.notif.notifications]

    def _id(self, filter, pick, stale):
        known = self._known(filter)
        if not known or stale:
            base = self.base.get(filter.number if filter is not None else -1, 0)
            return 40 + pick, 40 + pick + base & 0xFFFFFFFFFFFFFFFF
        return known[pick % len(known)]

    @rule(pick=PICK, buffer=st.sampled_from(["good", "good", "good", "good", "dirty", "read-only", "bad"]))
    def receive(self, pick, buffer):
        task, fd = self._listener(pick)
        if task is not None:
            self._receive(task, fd, buffer)

    def _receive(self, task, fd, buffer):
        watched = self._filter(task, fd)
        if watched is not None and any(
            name == "receive" and self.receiving.get(one) is watched for one, (name, _, _) in self.calls.items()
        ):
            return  # which of two readers gets it is a matter of who came first
        mode, payload = {"good": (0, b""), "dirty": (0, b"\1"), "read-only": (3, b""), "bad": (2, b"")}[buffer]
        box = SeccompNotif(zeroed=buffer != "dirty", writable=buffer != "read-only")
        given = uapi.FAULT if buffer == "bad" else box
        self._real(task).tell("IOCTL", fd, uapi.SECCOMP_IOCTL_NOTIF_RECV, mode, payload=payload)
        self.receiving[task] = watched
        call = self.model.ioctl(task, fd, uapi.SECCOMP_IOCTL_NOTIF_RECV, given)

        def compare(call, reply):
            if call.value != reply.result:
                return f"the kernel says {reply.result}, the model {call.value}"
            if call.value != 0:
                return ""
            id_, pid, _, nr, arch = struct.unpack_from("=QIIiI", reply.payload)
            args = struct.unpack_from("=6Q", reply.payload, 32)
            base = self.base.setdefault(watched.number, id_ - box.id & 0xFFFFFFFFFFFFFFFF)
            number = next((self._number(one) for one in self.threads if one.tid == box.pid), 0)
            assert box.data is not None
            shown = ((id_ - base) & 0xFFFFFFFFFFFFFFFF, pid, nr, arch, args[0])
            wanted = (box.id, number, box.data.nr, box.data.arch, box.data.args[0])
            return "" if shown == wanted else f"the kernel shows {shown}, the model {wanted}"

        self._both("receive", task, call, compare)

    @rule(
        pick=PICK,
        which=PICK,
        answer=st.sampled_from([(0, 0, 0), (5, 0, 0), (0, -1, 0), (0, -9999, 0), (0, 5, 0), (0, 0, 1), (0, 0, 1), (1, 0, 1), (0, 0, 2)]),
        stale=st.sampled_from([False] * 5 + [True]),
    )
    def send(self, pick, which, answer, stale):
        task, fd = self._listener(pick)
        if task is not None:
            self._send(task, fd, which, answer, stale=stale)

    def _send(self, task, fd, which, answer, *, stale):
        if task in self.threads and not task.exited and task.activity is None and task not in self.calls:
            mine, real = self._id(self._filter(task, fd), which, stale)
            value, error, flags = answer
            self._real(task).tell("IOCTL", fd, uapi.SECCOMP_IOCTL_NOTIF_SEND, payload=struct.pack("=QqiI", real, value, error, flags))
            self._both("send", task, self.model.ioctl(task, fd, uapi.SECCOMP_IOCTL_NOTIF_SEND, Response(mine, value, error, flags)))

    @rule(pick=PICK, which=PICK, wrong=st.booleans(), stale=st.sampled_from([False] * 3 + [True]))
    def id_valid(self, pick, which, wrong, stale):
        task, fd = self._listener(pick)
        if task is not None:
            mine, real = self._id(self._filter(task, fd), which, stale)
            command = uapi.SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR if wrong else uapi.SECCOMP_IOCTL_NOTIF_ID_VALID
            self._real(task).tell("IOCTL", fd, command, payload=struct.pack("=Q", real))
            self._both("id valid", task, self.model.ioctl(task, fd, command, mine))

    @rule(
        pick=PICK, which=PICK, source=st.sampled_from([0, 1, 1, 0, 77]), flags=st.sampled_from([0, 0, 1, 2, 2, 3, 4]),
        newfd=st.sampled_from([0, 0, 5, 2000]), cloexec=st.sampled_from([0, uapi.O_CLOEXEC, 1]), size=st.sampled_from([24, 24, 24, 24, 8, 32, 4096]), tail=st.booleans(),
    )  # fmt: skip
    def add_fd(self, pick, which, source, flags, newfd, cloexec, size, tail):
        task, fd = self._listener(pick)
        if task is None:
            return
        watched = self._filter(task, fd)
        mine, real = self._id(watched, which, False)
        newfd = newfd if flags & 1 or which % 5 == 0 else 0
        command = uapi.SECCOMP_IOCTL_NOTIF_ADDFD & ~uapi.IOCSIZE_MASK | size << uapi.IOCSIZE_SHIFT
        raw = struct.pack("=QIIII", real, flags, source, newfd, cloexec) + (b"\1" if tail else b"\0") * 8
        self._real(task).tell("IOCTL", fd, command, payload=raw)
        given = AddFd(mine, source, flags, newfd, cloexec, size, int(tail))
        self._both("addfd", task, self.model.ioctl(task, fd, command, given))

    @rule(pick=PICK, which=PICK)
    def receive_and_answer(self, pick, which):
        """What supervisors do all the time."""
        task, fd = self._listener(pick)
        watched = self._filter(task, fd) if task is not None else None
        if watched is None or not any(one.state == "INIT" for one in watched.notif.notifications):
            return
        self._receive(task, fd, "good")
        self._send(task, fd, which, [(0, 0, 1), (0, -1, 0), (5, 0, 0)][which % 3], stale=False)

    @rule(pick=PICK, flags=st.sampled_from([0, 1, 2]))
    def set_flags(self, pick, flags):
        task, fd = self._listener(pick)
        if task is not None:
            self._real(task).tell("IOCTL", fd, uapi.SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1, flags)
            self._both("set flags", task, self.model.ioctl(task, fd, uapi.SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags))

    @rule(pick=PICK, command=st.sampled_from([0, 0xC0502200, 0xC0402100, 0x80182101]))
    def unknown_command(self, pick, command):
        task, fd = self._listener(pick)
        if task is not None and self._filter(task, fd) is not None:
            self._real(task).tell("IOCTL", fd, command)
            self._both("command", task, self.model.ioctl(task, fd, command, None))

    @rule(pick=PICK)
    def poll(self, pick):
        task, fd = self._listener(pick)
        if task is None or self._filter(task, fd) is None:
            return
        self._real(task).tell("POLL", fd)
        reply = self._reply(self._real(task))
        shown = struct.unpack_from("=H", reply.payload)[0]
        # poll(2) shows what was asked for, and errors
        wanted = self.model.poll(task, fd) & (uapi.EPOLLIN | uapi.EPOLLOUT | uapi.EPOLLERR | uapi.EPOLLHUP)
        counts["poll"] += 1
        if shown != wanted:
            raise Disagreement(f"poll: the kernel says {shown:#x}, the model {wanted:#x}\n" + "\n".join(self.model.story[-25:]))

    @rule(pick=PICK)
    def close(self, pick):
        task, fd = self._listener(pick)
        if task is not None and fd > 2 and pick % 3 == 0:
            self._real(task).tell("SYSCALL", 3, fd)
            self._both("close", task, self.model.close(task, fd))

    @rule(pick=PICK, other=PICK)
    def give(self, pick, other):
        giver, fd = self._listener(pick)
        taker = self._idle(other)
        if giver is None or taker is None or self._filter(giver, fd) is None:
            return
        assert self.world.give(self._real(giver), fd, self._real(taker))
        reply = self._reply(self._real(taker))
        wanted = self.model.give(giver, fd, taker)
        counts["give"] += 1
        if reply.result != wanted:
            has = sorted(
                int(name) for name in os.listdir(f"/proc/{self._real(taker).pid}/task/{self._number(taker)}/fd") if int(name) < 900
            )
            raise Disagreement(
                f"give: the kernel says {reply.result} and has {has}, the model {wanted} of {sorted(taker.process.files.table)}"
            )

    def _drop(self, task):
        self._real(task).tell("SYSCALL", 117, 65534, 65534, 65534)  # setresuid
        self._reply(self._real(task))
        task.credentials = Credentials()

    @rule(pick=PICK)
    def drop_privileges(self, pick):
        task = self._idle(pick)
        if task is not None and pick % 4 == 0 and os.geteuid() == 0:
            counts["drop"] += 1
            self._drop(task)

    # --- the end

    def teardown(self):
        if not hasattr(self, "world"):
            return
        try:
            self._audit()
        finally:
            self.world.close()
            if self.audit is not None:
                self.audit.close()

    def _audit(self):
        """Every record that the model foresaw has come, and no other."""
        if self.audit is None:
            return
        wanted = collections.Counter((one.pid, one.sig, one.arch, one.syscall, one.compat, one.code) for one in self.model.log)
        until = time.monotonic() + PATIENCE
        while True:
            self._log()
            got = collections.Counter(self.records)
            if got == wanted or not self.audit.complete:
                return
            if got - wanted or time.monotonic() > until:
                if _lost() != LOST:
                    return  # the kernel itself says that it dropped some
                raise Disagreement(f"audit log: the kernel alone says {got - wanted}, the model alone {wanted - got}")
            self.audit.wait()


def _tgkill(pid, tid, signo):
    LIBC.syscall(234, pid, tid, signo)


def _lost():
    """How many audit records the kernel has lost, by its own count (AUDIT_GET)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as asker:
        asker.settimeout(5)
        asker.send(struct.pack("=IHHII", 16, 1000, 1, 1, 0))
        while True:
            raw = asker.recv(65536)
            if struct.unpack_from("=H", raw, 4)[0] == 1000:
                return struct.unpack_from("=10I", raw, 16)[6]


LOST = 0


def main():
    global puppet, LOST
    puppet, operations = sys.argv[1], int(sys.argv[2])
    if sys.argv[4] == "nobody":
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    LOST = _lost() if os.geteuid() == 0 else 0
    steps = 60
    begun = time.monotonic()
    number = 0
    while sum(counts.values()) < operations:
        number += 1
        configured = settings(
            max_examples=60, stateful_step_count=steps, deadline=None, database=None, print_blob=False, report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink] if "SHRINK" in os.environ else [Phase.generate], derandomize=False,
        )  # fmt: skip
        chosen = number + int(sys.argv[3])
        run_state_machine_as_test(seed(chosen)(Machine), settings=configured)
    total = sum(counts.values())
    print(f"{total} operations agree, in {time.monotonic() - begun:.1f} s")
    print(" ".join(f"{name}={count}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
