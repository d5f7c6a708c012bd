"""Functions in strict mode on the running kernel: forked and spawned, as ourselves and as nobody.

Each combination is one process that runs every case of `CASES` and prints what came of each; the tests look at its answers.
"""

import functools
import json
from pathlib import Path

import pytest

from support import ROOT, run_python

pytestmark = pytest.mark.live

SCRIPT = """
import json, os, sys, tempfile, time
place = tempfile.mkdtemp()
open(place + "/strict_victims.py", "w").write(sys.stdin.read())
sys.path.insert(0, place)
import strict_victims as victims
from seclude.sandbox.strict import strict
from seclude.errors import SecludeError
if sys.argv[1] == "spawn":
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
said = {}
before = sorted(os.listdir("/proc/self/fd"))
for name, (function, args, options) in json.loads(sys.argv[2]).items():
    try:
        value = eval(function, vars(victims) | {"victims": victims})
        args = [eval(arg) if isinstance(arg, str) else arg for arg in args]
        result = strict(value, *args, **options)
        if isinstance(result, int) and result.bit_length() > 1000:
            result = f"{result.bit_length()} bits" if result == 3**50_000 else "wrong"
            said[name] = ["returned", result]
            continue
        said[name] = ["returned", repr(result) if len(repr(result)) < 500 else len(result)]
    except SecludeError as error:
        said[name] = [type(error).__name__, str(error), getattr(error, "call", None), getattr(error, "signal", None), getattr(error, "type_name", None)]
said["left"] = [sorted(os.listdir("/proc/self/fd")) == before, open(f"/proc/self/task/{os.getpid()}/children").read()]
import shutil
shutil.rmtree(place)
print(json.dumps(said))
"""

#: name → function (an expression over the victims), arguments (texts are evaluated), options
CASES = {
    "add": ("add", [2], {"b": 5}),
    "kinds": ("kinds", [], {}),
    "many strings": ("strings", [200_000], {}),
    "a big blob": ("blob", [20_000_000], {}),
    "recursion": ("deep", [700], {}),
    "endless recursion": ("endless", [], {}),
    "allocating and freeing": ("churn", [], {"memory": "64M"}),
    "changing a big argument": ("consume", ["list(range(300_000))"], {}),
    "a huge integer": ("huge_integer", [], {}),
    "an exception": ("fail", ["'way'"], {}),
    "an exception without text": ("fail_stubbornly", [], {}),
    "SystemExit": ("leave", [], {}),
    "open": ("open_file", [], {}),
    "getpid": ("process_id", [], {}),
    "clock": ("clock", [], {}),
    "socket": ("connect", [], {}),
    "urandom": ("random", [], {}),
    "kill": ("kill_parent", [], {}),
    "exit": ("end_hard", [], {}),
    "too much at once": ("too_much", [], {}),
    "too much in small pieces": ("little_by_little", [], {"memory": "16M"}),
    "timeout": ("forever", [], {"timeout": "100ms"}),
    "an object": ("an_object", [], {}),
    "a cycle": ("itself", [], {}),
    "a result beyond the limit": ("strings", [1000], {"output": "1K"}),
    "crash": ("crash", [], {}),
    "a forged result": ("forge", ["b'R' + (5).to_bytes(8, 'little') + b'Lzzzz'"], {"timeout": 10}),
    "a forged size": ("forge", ["b'R' + b'\\xff' * 8"], {"timeout": 10}),
    "a forged error": ("forge", ["b'E' + (2).to_bytes(8, 'little') + b'L\\x00'"], {"timeout": 10}),
    "a forged kind": ("forge", ["b'?' + (1).to_bytes(8, 'little') + b'N'"], {"timeout": 10}),
    "its result's descriptor closed": ("close_everything", [], {}),
    "descriptors": ("descriptors", [], {}),
}
#: what only a fork can do: anything callable, shared arguments, globals as they are
FORKED: dict[str, tuple[str, list[object], dict[str, str]]] = {
    "a lambda": ("lambda x: x * 2", [21], {}),
    "a shared argument": ("lambda: same(*[[]] * 2)", [], {}),
    "a global emptied": ("clear_global", [], {}),
    "standard output": ("show", [], {}),
}

KINDS = (
    "[None, True, -1, 1606938044258990275541962092341162602522202993782792835301376, 1.5, 2j, 'hé\\udc80', b'x', "
    "bytearray(b'y'), (1, (2,)), {'a': {1, 2}}, frozenset({3})]"
)

HOW = pytest.mark.parametrize("how", ["fork", "spawn"])
WHO = pytest.mark.parametrize("nobody", [False, True], ids=["self", "nobody"])


@functools.cache
def answers(how, nobody):
    cases = CASES | (FORKED if how == "fork" else {})
    victims = Path(ROOT / "tests" / "strict_victims.py").read_text()
    done = run_python(SCRIPT, how, json.dumps(cases), nobody=nobody, stdin=victims)
    assert done.status == 0, done
    assert "shown" not in done.stdout
    return json.loads(done.stdout)


@pytest.mark.slow
@WHO
@HOW
@pytest.mark.parametrize(
    ("case", "result"),
    [
        ("add", "7"),
        ("kinds", KINDS),
        ("many strings", 200_000),
        ("a big blob", 20_000_000),
        ("recursion", "700"),
        ("allocating and freeing", "'done'"),
        ("changing a big argument", str(sum(range(300_000)) + 500_000)),
        ("descriptors", "1"),
    ],
)
def test_what_works(case, result, how, nobody):
    assert answers(how, nobody)[case] == ["returned", result]


@pytest.mark.slow
@WHO
@HOW
def test_a_huge_integer_is_exact(how, nobody):
    assert answers(how, nobody)["a huge integer"] == ["returned", "79249 bits"]


@pytest.mark.slow
@WHO
@HOW
@pytest.mark.parametrize(
    ("case", "type_name", "text"),
    [
        ("endless recursion", "RecursionError", "in endless"),
        ("an exception", "ValueError", "raised ValueError: no way"),
        ("an exception without text", "strict_victims.Stubborn", "its text cannot be made"),
        ("SystemExit", "SystemExit", "raised SystemExit: 3"),
    ],
)
def test_exceptions_come_back_as_text(case, type_name, text, how, nobody):
    kind, said, _, _, name = answers(how, nobody)[case]
    assert (kind, name) == ("StrictRaised", type_name)
    assert text in said
    assert "strict_victims.py:" in said


@pytest.mark.slow
@WHO
@HOW
@pytest.mark.parametrize(
    ("case", "call", "text"),
    [
        ("open", "openat", "called openat(0xffffff9c, 0x"),
        ("getpid", "getpid", "called getpid(): strict mode allows read, write, exit"),
        ("socket", "socket", "called socket(0x2, 0x80001, 0x0)"),
        ("urandom", "getrandom", "called getrandom("),
        ("kill", "getppid", "called getppid()"),
        ("exit", "exit_group", "called exit_group(0x3)"),
        ("too much at once", "brk", "more than memory=268435456"),
        ("too much in small pieces", "brk", "more than memory=16777216"),
        ("its result's descriptor closed", None, ""),
    ],
)
def test_violations_name_the_call(case, call, text, how, nobody):
    kind, said, name, signal, _ = answers(how, nobody)[case]
    assert kind == "StrictViolation"
    if call is not None:
        assert (name, signal) == (call, 9)
    assert text in said


@pytest.mark.slow
@WHO
@HOW
def test_the_clock_is_told_from_a_crash(how, nobody):
    said = answers(how, nobody)
    assert said["clock"][0] == said["crash"][0] == "StrictViolation"
    assert "read the clock" in said["clock"][1]
    assert "crashed" in said["crash"][1]


@pytest.mark.slow
@WHO
@HOW
@pytest.mark.parametrize(
    ("case", "kind", "text"),
    [
        ("timeout", "StrictTimeout", "in time"),
        ("an object", "StrictError", "the value[1]['a'] is a builtins.object"),
        ("a cycle", "StrictError", "contains itself"),
        ("a result beyond the limit", "StrictError", "more than 1024 bytes"),
        ("a forged result", "StrictError", "not in the plain format"),
        ("a forged size", "StrictError", "announces"),
        ("a forged error", "StrictError", "not in the plain format"),
        ("a forged kind", "StrictError", "not in the plain format"),
    ],
)
def test_what_cannot_be_returned(case, kind, text, how, nobody):
    said = answers(how, nobody)[case]
    assert said[0] == kind
    assert text in said[1]


@pytest.mark.slow
@WHO
@HOW
def test_nothing_is_left_behind(how, nobody):
    assert answers(how, nobody)["left"] == [True, ""]


@pytest.mark.slow
@WHO
def test_a_fork_takes_anything_callable(nobody):
    said = answers("fork", nobody)
    assert said["a lambda"] == ["returned", "42"]
    assert said["a shared argument"] == ["returned", "(True, [1])"]
    assert said["standard output"][4] == "OSError"


@pytest.mark.slow
@WHO
def test_a_large_global_changed_in_place_is_said(nobody):
    kind, said, call, *_ = answers("fork", nobody)["a global emptied"]
    assert (kind, call) == ("StrictViolation", "munmap")
    assert "large object from before" in said


THREADED = """
import sys, threading
from seclude.errors import UsageError
from seclude.sandbox.strict import strict
threading.Thread(target=threading.Event().wait, daemon=True).start()
for function, args in ((lambda: 1, ()), (print, (object(),)), (exec, ("import threading",))):
    try:
        strict(function, *args)
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_threaded_host_says_what_it_cannot_do():
    done = run_python(THREADED)
    assert done.status == 0, done
    assert "cannot find <function <lambda>" in done.stdout
    assert "arguments are copied as plain values: argument 0: the value is a builtins.object" in done.stdout


def test_a_module_that_starts_threads_is_refused(tmp_path):
    (tmp_path / "threads_at_import.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\ndef f(): pass\n"
    )
    (tmp_path / "broken_at_import.py").write_text("print('noise')\nraise KeyError('x')\n")
    code = """
    import sys, types
    sys.path.insert(0, sys.argv[1])
    import threads_at_import
    from seclude.sandbox.strict import strict
    broken = types.FunctionType((lambda: 0).__code__, {})
    broken.__module__, broken.__qualname__ = "broken_at_import", "f"
    for function in (threads_at_import.f, broken):
        try:
            strict(function)
        except Exception as error:
            print(type(error).__name__, error)
    """
    done = run_python(code, str(tmp_path))
    assert "UsageError strict: importing threads_at_import started threads" in done.stdout, done
    assert "UsageError strict: cannot import f from broken_at_import: KeyError: 'x'" in done.stdout


def test_a_filtered_host_is_told_that_strict_mode_cannot_follow():
    code = """
    import struct
    from seclude.kernel import prctl, seccomp
    from seclude.sandbox.strict import strict
    prctl.set_no_new_privs()
    seccomp.install_filter(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
    try:
        strict(abs, -1)
    except Exception as error:
        print(type(error).__name__, error)
    """
    done = run_python(code)
    assert "KernelError strict: prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT): EINVAL" in done.stdout, done


def test_unobserved_where_the_child_cannot_be_seized():
    # Not dumpable and not root: nobody may trace it, and the report says what is known.
    code = """
    import os
    from seclude.kernel import prctl
    from seclude.sandbox.strict import strict
    if os.geteuid() == 0:
        from seclude.kernel import ptrace
        def refuse(pid, options=0): raise PermissionError(1, "no")
        ptrace.seize = refuse
    prctl.set_dumpable(False)
    for function in (os.getpid, lambda: [0] * (1 << 33)):
        try:
            strict(function)
        except Exception as error:
            print(type(error).__name__, error.signal, error.call, "not observed" in str(error))
    print(strict(abs, -3))
    """
    assert run_python(code, nobody=True).stdout == "StrictViolation 9 None True\nStrictViolation 9 None True\n3\n"


def test_a_kill_from_outside_is_told_from_a_violation():
    code = """
    import os, threading
    from seclude.kernel import ptrace
    from seclude.sandbox.strict import strict
    seize = ptrace.seize
    def seize_and_kill(pid, options=0):
        seize(pid, options)
        os.kill(pid, 9)
    ptrace.seize = seize_and_kill
    try:
        strict(abs, -1)
    except Exception as error:
        print(type(error).__name__, error.signal, error.call, "killed from outside" in str(error))
    """
    assert run_python(code).stdout == "StrictViolation 9 None True\n"


def test_bad_arguments_are_refused_before_anything_starts():
    from seclude.errors import UsageError
    from seclude.sandbox.strict import strict

    for arguments, options in (((3,), {}), ((abs, 1), {"memory": "lots"}), ((abs, 1), {"timeout": "soon"}), ((abs, 1), {"output": 0})):
        with pytest.raises(UsageError):
            strict(*arguments, **options)
