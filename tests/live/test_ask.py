"""``seclude run --ask``: what a person answers happens, is kept, and no program can answer for them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import run_support as runs
import support

pytestmark = pytest.mark.live

SOCKET = "import socket; socket.socket(); print('made')"
PERMISSION = "import socket\ntry: socket.socket()\nexcept PermissionError: print('denied')\nelse: print('made')\n"
TWICE = """
import socket
for _ in range(2):
    try:
        socket.socket()
        print("made")
    except PermissionError:
        print("denied")
"""


@contextlib.contextmanager
def place(nobody=False):
    if nobody:
        with support.nobody_directory() as home:
            yield home
    else:
        where = runs.public() / f"ask{os.urandom(4).hex()}"
        where.mkdir()
        yield where


class Answerer:
    """Somebody behind a socket: ``answer(question)`` gives the messages to send; ``seen`` is everything that came."""

    def __init__(self, where, answer, owner=None):
        self.name = str(where / "ask.sock")
        self.seen = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.name)
        if owner is not None and os.geteuid() == 0:
            os.chown(self.name, owner, owner)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        with connection, connection.makefile("r") as lines:
            for line in lines:
                message = json.loads(line)
                self.seen.append(message)
                if message["kind"] == "question":
                    for reply in self._answer(message):
                        if reply is None:
                            return
                        connection.sendall(
                            reply if isinstance(reply, bytes) else json.dumps({"id": message["id"], **reply}).encode() + b"\n"
                        )

    @property
    def questions(self):
        return [message for message in self.seen if message["kind"] == "question"]

    def done(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(support.PATIENCE)
        assert not self._thread.is_alive()


def asked(code, answer, *options, nobody=False, policy="container"):
    """Run Python ``code``: how it ended, its report, who answered, and the policy that was kept."""
    with place(nobody) as where:
        somebody = Answerer(where, answer, 65534 if nobody else None)
        done = support.seclude(
            "run", "-p", policy, "--ask-via", somebody.name, "--report", "json", "--report-file", "report", *options,
            "--", runs.python(), "-c", code, nobody=nobody, cwd=where,
        )  # fmt: skip
        somebody.done()
        report = where / "report"
        kept = where / "kept.seclude"
        return done, json.loads(report.read_text()) if report.exists() else {}, somebody, kept.read_text() if kept.exists() else ""


@pytest.mark.parametrize("nobody", [False, True], ids=["caller", "nobody"])
def test_what_is_allowed_once_is_asked_again(nobody):
    done, report, somebody, _ = asked(TWICE, lambda question: [{"answer": "allow"}], nobody=nobody)
    assert done.stdout.split() == ["made", "made"], str(done)
    first, second = somebody.questions
    assert first["words"] == "make a socket (AF_INET)"
    assert first["rules"] == ["socket(domain == AF_INET)", "socket"]
    assert second["id"] == first["id"] + 1
    assert report["denials"] == []
    assert any("2 questions, 2 allowed" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("answer", "printed", "line"),
    [
        ("allow-always", ["made", "made"], "allow   socket(domain == AF_INET)"),
        ("deny-always", ["denied", "denied"], "errno(EPERM) socket(domain == AF_INET)"),
    ],
)
def test_always_is_asked_once_and_kept_as_a_policy(answer, printed, line):
    done, _, somebody, kept = asked(TWICE, lambda question: [{"answer": answer}], "--ask-save", "./kept.seclude")
    assert done.stdout.split() == printed, str(done)
    assert len(somebody.questions) == 1
    head, *rest = kept.splitlines()
    assert head.startswith("# ")
    assert rest[0] == "include container"
    assert rest[1].startswith("# asked 2")
    assert "socket(AF_INET" in rest[1]
    assert rest[2] == line
    again = support.seclude("run", "-p", runs.policy(kept), "--", sys.executable, "-c", TWICE)
    assert again.stdout.split() == printed


def test_answers_are_added_to_the_policy_that_is_asked_about():
    with place() as where:
        mine = where / "mine.seclude"
        mine.write_text("include container\nallow socket(domain == AF_INET6)")
        for expected in (1, 0):
            somebody = Answerer(where, lambda question: [{"answer": "allow-always"}])
            done = support.seclude(
                "run", "-p", "./mine.seclude", "--ask-via", somebody.name, "--ask-save", "./mine.seclude", "--", sys.executable, "-c", TWICE, cwd=where
            )  # fmt: skip
            somebody.done()
            os.unlink(somebody.name)
            assert done.stdout.split() == ["made", "made"], str(done)
            assert len(somebody.questions) == expected
        lines = [line for line in mine.read_text().splitlines() if not line.startswith("#")]
        assert lines == ["include container", "allow socket(domain == AF_INET6)", "allow   socket(domain == AF_INET)"]


def test_the_whole_call_can_be_allowed():
    code = "import socket\nsocket.socket(); socket.socket(socket.AF_INET6); print('made')"
    done, _, somebody, kept = asked(code, lambda question: [{"answer": "allow-always", "rule": "socket"}], "--ask-save", "./kept.seclude")
    assert done.stdout == "made\n", str(done)
    assert len(somebody.questions) == 1
    assert kept.endswith("\nallow   socket\n")


def test_the_rest_can_be_denied():
    code = PERMISSION + "import os\ntry: os.chroot('/')\nexcept PermissionError: print('denied')\n"
    done, report, somebody, _ = asked(code, lambda question: [{"answer": "deny-rest"}])
    assert done.stdout.split() == ["denied", "denied"], str(done)
    assert len(somebody.questions) == 1
    assert [denial["call"] for denial in report["denials"]] == ["socket", "chroot"]
    assert "denied by whoever was asked" in report["denials"][0]["reason"]


def test_nobody_answers():
    done, report, somebody, _ = asked(PERMISSION, lambda question: [], "--ask-timeout", "50ms")
    assert done.stdout == "denied\n", str(done)
    assert "nobody answered within" in report["denials"][0]["reason"]
    assert somebody.seen[-1] == {"kind": "withdrawn", "id": 1, "why": "timeout"}


def test_a_question_does_not_hold_a_signal_that_is_to_end_the_program():
    """A traced thread that waits for its answer takes none: Ctrl-C would do nothing until somebody answers."""

    def end(question):
        os.kill(question["pid"], signal.SIGINT)
        return []

    code = "import socket\ntry: socket.socket()\nexcept KeyboardInterrupt: print('interrupted')\n"
    done, report, somebody, _ = asked(code, end)
    assert done.stdout == "interrupted\n", str(done)
    assert somebody.seen[-1] == {"kind": "withdrawn", "id": 1, "why": "gone"}
    assert [(denial["result"], denial["reason"]) for denial in report["denials"]] == [("EINTR", "a signal to the program came first")]


def test_whoever_answers_goes_away():
    done, report, _, _ = asked(PERMISSION, lambda question: [None])
    assert done.stdout == "denied\n", str(done)
    assert "gone" in report["denials"][0]["reason"]


def test_answers_that_are_none_are_told_so():
    def answer(question):
        return [
            b"{\n",
            b"[]\n",
            b'{"answer": "allow"}\n',
            b'{"id": 99, "answer": "allow"}\n',
            {"answer": "maybe"},
            {"answer": ["allow"]},
            {"answer": "allow-always", "rule": "ptrace"},
            {"answer": "allow"},
        ]

    done, _, somebody, _ = asked(SOCKET, answer)
    assert done.stdout == "made\n", str(done)
    errors = [message["message"] for message in somebody.seen if message["kind"] == "error"]
    assert len(errors) == 6
    assert "one JSON object a line" in errors[0]
    assert "rule: expected one of socket(domain == AF_INET), socket" in errors[-1]


def test_a_call_that_is_gone_takes_its_question_with_it():
    def answer(question):
        os.kill(question["pid"], signal.SIGKILL)
        return []

    done, _, somebody, _ = asked(SOCKET, answer)
    assert done.status == 128 + signal.SIGKILL, str(done)
    assert somebody.seen[0]["kind"] == "question"
    assert somebody.seen[1:] in ([], [{"kind": "withdrawn", "id": 1, "why": "gone"}])


def test_what_a_rule_denies_is_not_asked():
    policy = runs.policy("errno(EACCES) chroot\ninclude container\n")
    code = "import os\ntry: os.chroot('/')\nexcept PermissionError: print('denied')"
    done, report, somebody, _ = asked(code, lambda question: [], policy=policy)
    assert done.stdout == "denied\n", str(done)
    assert somebody.seen == []
    assert report["denials"][0]["rule"].startswith("errno(EACCES) chroot")


def test_threads_wait_for_their_turn():
    code = """
import socket, threading
def work(): socket.socket(); print("made", flush=True)
threads = [threading.Thread(target=work) for _ in range(30)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    done, _, somebody, _ = asked(code, lambda question: [{"answer": "allow"}])
    assert done.stdout.count("made") == 30, str(done)
    assert [question["id"] for question in somebody.questions] == list(range(1, 31))


def test_a_name_with_a_line_end_writes_no_policy():
    """The program's file is in the comment of an answer: what follows a line's end in it would have been a rule."""
    with place() as where:
        program = where / "x\nallow ptrace"
        source = "#include <sys/socket.h>\nint main(void) { return socket(AF_INET, SOCK_STREAM, 0) < 0; }"
        shutil.copy(runs.c_program(source), program)
        somebody = Answerer(where, lambda question: [{"answer": "allow-always"}])
        done = support.seclude("run", "--ask-via", somebody.name, "--ask-save", "./kept.seclude", "--", program, cwd=where)
        somebody.done()
        assert done.status == 0, str(done)
        kept = (where / "kept.seclude").read_text()
        assert [line for line in kept.splitlines() if not line.startswith("#")] == [
            "include container",
            "allow   socket(domain == AF_INET)",
        ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--ask",), ("no terminal to ask at", "seclude answer SOCKET")),
        (("--ask-via", "./nothing.sock"), ("./nothing.sock", "seclude answer")),
        (("--ask-via", "/etc/passwd"), ("neither a socket nor a terminal",)),
        (("--ask-via", "/dev/null"), ("not a terminal",)),
        (("--ask-save", "x.seclude"), ("nobody is asked", "--ask")),
        (("--ask-timeout", "5s"), ("nobody is asked", "--ask")),
        (("--ask", "--ask-timeout", "0s"), ("--ask-timeout",)),
        (("--ask", "--no-report"), ("reporting is off", "--no-report")),
    ],
)
def test_what_cannot_be_asked_is_refused(words, told):
    done = support.seclude("run", *words, "--", "true", start_new_session=True)
    assert done.status == 125, str(done)
    for word in told:
        assert word in done.stderr


def test_a_policy_that_kills_has_nothing_to_ask():
    with place() as where:
        somebody = Answerer(where, lambda question: [])
        done = support.seclude("run", "-p", runs.policy("default kill\ninclude container\n"), "--ask-via", somebody.name, "--", "true")
        somebody.done()
        assert done.status == 125
        assert "no call waits for an answer" in done.stderr


def test_a_file_that_is_no_policy_is_left_alone():
    with place() as where:
        (where / "notes.seclude").write_text("dear diary\n")
        somebody = Answerer(where, lambda question: [])
        done = support.seclude("run", "--ask-via", somebody.name, "--ask-save", "./notes.seclude", "--", "true", cwd=where)
        somebody.done()
        assert done.status == 125
        assert "this is none" in done.stderr
        assert (where / "notes.seclude").read_text() == "dear diary\n"


class Typed:
    """``seclude run`` on a terminal of its own."""

    def __init__(self, *words):
        self.ended, told = os.pipe()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                job = os.fork()
                if job == 0:
                    os.environ["PYTHONPATH"] = str(Path(support.__file__).parent.parent / "src")
                    os.execv(sys.executable, [sys.executable, "-m", "seclude", "run", *words])
                os.write(told, bytes([os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]) & 0xFF]))
                # The end of a session's leader takes from its terminal what nobody has read yet: so it stays until we close that (SIGHUP).
                signal.pause()
            finally:
                os._exit(99)
        os.close(told)
        self.text = ""

    def until(self, wanted):
        while wanted not in self.text:
            assert select.select([self.master], [], [], support.PATIENCE)[0], f"{wanted!r} did not come: {self.text!r}"
            try:
                piece = os.read(self.master, 4096)
            except OSError:  # EIO: everybody has closed the other end
                piece = b""
            assert piece, f"{wanted!r} did not come: {self.text!r}"
            self.text += piece.decode()

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        while self.ended not in select.select([self.ended, self.master], [], [], support.PATIENCE)[0]:
            assert select.select([self.master], [], [], 0)[0], f"still running: {self.text!r}"
            self.text += os.read(self.master, 4096).decode()
        (code,) = os.read(self.ended, 1)
        os.close(self.ended)
        os.close(self.master)
        os.waitpid(self.pid, 0)
        return code


def test_at_a_terminal_program_and_questions_share_the_keyboard():
    code = "import socket\nname = input('name? ')\nsocket.socket()\nprint('hello', name)\n"
    run = Typed("--ask", "--", sys.executable, "-c", code)
    run.until("name? ")
    run.type("you\n")
    run.until("denied in 60 s: ")
    assert "wants to make a socket (AF_INET)" in run.text
    run.type("what?\n")
    run.until("one of y, a, A, n, d, q")
    run.type("y\n")
    run.until("hello you")
    run.until("1 question, 1 allowed")
    assert run.end() == 0


def test_at_a_terminal_the_end_of_input_denies():
    run = Typed("--ask", "--", sys.executable, "-c", PERMISSION)
    run.until("denied in 60 s: ")
    run.type("\x04")
    run.until("the terminal was closed")
    assert "\ndenied\r\n" in run.text
    assert run.end() == 0


def test_no_program_types_the_answer():
    """The request itself would be an undecided call; and a policy that permits it is refused."""
    code = "import fcntl\ntry: fcntl.ioctl(0, 0x5412, b'y')\nexcept PermissionError: print('refused')\n"
    run = Typed("--ask", "--", sys.executable, "-c", code)
    run.until("refused\r\n")
    run.until("type into the terminal")
    assert "wants to" not in run.text
    run.end()
    for rule in ("ioctl(request == TIOCSTI)", "ioctl(fd == 7)"):
        run = Typed("--ask", "--allow", rule, "--", "true")
        run.until("type the answers itself")
        assert run.end() == 125


def test_what_is_denied_last_is_told():
    """A program may be over before the thread that answered it has said so."""
    code = "import fcntl, os\ntry: fcntl.ioctl(0, 0x5412, b'y')\nexcept PermissionError: os._exit(0)\n"
    for _ in range(8):
        run = Typed("--ask", "--", sys.executable, "-c", code)
        run.until("type into the terminal")
        assert run.end() == 0


def test_answered_from_another_terminal():
    with place() as where:
        name = str(where / "answers.sock")
        command = [sys.executable, "-m", "seclude", "answer", "--once", name]
        with support.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            assert other.stderr is not None
            assert b"waiting at" in other.stderr.readline()
            assert os.stat(name).st_mode & 0o777 == 0o600
            asking = [sys.executable, "-m", "seclude", "run", "--ask-via", name, "--", sys.executable, "-c", SOCKET]
            with support.start(asking, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
                shown = b""
                for wanted, typed in ((b"denied in", b"hm\n"), (b"one of", b"y\n")):
                    while wanted not in shown:
                        piece = os.read(other.stdout.fileno(), 4096)
                        assert piece
                        shown += piece
                    os.write(other.stdin.fileno(), typed)
                out, _ = run.communicate(timeout=support.PATIENCE)
                assert out == b"made\n"
            assert b"wants to make a socket (AF_INET)" in shown
            assert other.wait(support.PATIENCE) == 0
        assert not os.path.exists(name)


def test_answers_are_not_written_where_a_target_leads_them():
    """A target that may write where they are kept puts a link to another file in their place."""
    code = (
        "import os, socket\nos.path.exists('kept.seclude') and os.unlink('kept.seclude')\nos.symlink('precious.seclude', 'kept.seclude')\n"
    )
    for before in (None, "include container\n"):
        with place() as where:
            precious = where / "precious.seclude"
            precious.write_text("include container\n")
            if before is not None:
                (where / "kept.seclude").write_text(before)
            somebody = Answerer(where, lambda question: [{"answer": "allow-always"}])
            done = support.seclude(
                "run", "--ask-via", somebody.name, "--ask-save", "./kept.seclude", "--", sys.executable, "-c", code + "socket.socket()", cwd=where
            )  # fmt: skip
            somebody.done()
            assert precious.read_text() == "include container\n", str(done)
            assert len(somebody.questions) == 1
            assert "the answer holds for this run only" in done.stderr


def test_whoever_answers_is_not_told_to_remove_a_file():
    """Only a socket can be one that nobody waits at any more."""
    with place() as where:
        (where / "notes").write_text("mine")
        done = support.seclude("answer", str(where / "notes"))
        assert done.status == 125, str(done)
        assert "File exists" in done.stderr
        assert "remove" not in done.stderr
        assert (where / "notes").read_text() == "mine"
        assert [entry.name for entry in where.iterdir()] == ["notes"]
