"""The network broker against targets that change what it looks at, while it looks: nothing that was not granted is ever reached."""

import contextlib
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from run_support import c_program, directory, run, who

pytestmark = pytest.mark.live

SOURCE = (Path(__file__).parent / "network_attacks.c").read_text()
LOOPBACK = "127.0.0.1"
#: calls of each attack; with HYPOTHESIS_PROFILE=soak enough that each way it can go is seen
SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
ROUNDS = 20_000 if SOAK else 300


class Peers:
    """Granted and forbidden peers of every kind, all in this process. `reached` tells whether anything came to a forbidden one."""

    def __init__(self, stack):
        self.directory = directory()
        self.ports = []
        self.streams = []
        self.datagrams = []
        for _ in range(2):
            stream, datagram = _both(stack)
            self.ports.append(stream.getsockname()[1])
            self.streams.append(stream)
            self.datagrams.append(datagram)
        self.locals = []
        for name in ("granted", "secret"):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.bind(str(self.directory / name))
            os.chmod(self.directory / name, 0o777)
            one.listen(64)
            self.locals.append(one)
        self.names = {name: os.stat(self.directory / name).st_ino for name in ("granted", "secret")}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._serve, args=(one,)) for one in (self.streams[0], self.locals[0])]
        for thread in self._threads:
            thread.start()
        stack.callback(self._end)

    def _serve(self, listener):
        listener.settimeout(0.02)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                listener.accept()[0].close()

    def _end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def options(self):
        return ("--connect", f"{LOOPBACK}:{self.ports[0]}", "--connect", f"unix:{self.directory / 'granted'}")

    def reached(self):
        out = []
        for listener in (self.streams[1], self.locals[1]):
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                out.append(listener.getsockname())
        self.datagrams[1].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            out.append(self.datagrams[1].recv(10))
        return out


def _both(stack):
    """A stream and a datagram socket on one port."""
    for _ in range(50):
        with contextlib.ExitStack() as trial:
            stream = trial.enter_context(socket.socket())
            stream.bind((LOOPBACK, 0))
            stream.listen(64)
            datagram = trial.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                datagram.bind(stream.getsockname())
            except OSError:
                continue
            stack.push(trial.pop_all())
            return stream, datagram
    raise AssertionError("no port is free for both")


@pytest.fixture
def peers():
    with contextlib.ExitStack() as stack:
        yield Peers(stack)


def attack(peers, mode, nobody):
    rounds = ROUNDS
    ran = run(
        c_program(SOURCE, "-pthread"), mode, *map(str, peers.ports), str(peers.directory), str(rounds), options=peers.options, nobody=nobody
    )  # fmt: skip
    assert ran.done.status == 0, str(ran.done)
    went, refused, other = map(int, ran.done.stdout.split())
    assert went + refused + other == rounds
    assert peers.reached() == []
    assert not SOAK or (went and refused)
    return went, refused, other, ran


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("mode", ["connect", "sendto", "sendmsg"])
def test_an_address_that_changes_during_the_call(peers, mode, nobody):
    went, refused, other, _ = attack(peers, mode, nobody)
    assert went + refused > 0
    assert other == 0


@pytest.mark.parametrize("nobody", who())
@pytest.mark.parametrize("mode", ["path", "link", "names"])
def test_a_local_socket_whose_path_changes_during_the_call(peers, mode, nobody):
    attack(peers, mode, nobody)
    # What was pinned is the socket, whatever it is called in the end.
    if mode == "names":
        assert {name: os.stat(peers.directory / name).st_ino for name in peers.names} in (peers.names, _swapped(peers.names))


def _swapped(names):
    one, two = names
    return {one: names[two], two: names[one]}


def test_a_descriptor_that_changes_during_the_call(peers):
    went, refused, other, _ = attack(peers, "descriptor", False)
    assert other == 0
    assert went + refused == ROUNDS


def test_the_race_is_real(peers):
    """The same program without a broker does reach what is forbidden: the attack is one."""
    # On a busy machine a thread may not run at all in the first turns.
    for _ in range(20):
        ran = run(c_program(SOURCE, "-pthread"), "sendto", *map(str, peers.ports), str(peers.directory), "50000")
        assert ran.done.status == 0
        if peers.reached():
            break
    else:
        pytest.fail("the address was never the forbidden one when it was read")
    assert stat.S_ISSOCK(os.stat(peers.directory / "granted").st_mode)
