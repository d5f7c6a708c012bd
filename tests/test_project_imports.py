"""The start-up budget, held as a rule on imports: what the run path may never load, and that ``import seclude`` is light.

Times differ from machine to machine; what is imported does not. Each module below costs between 2 and 60 ms, and
``seclude run`` pays for whatever it loads on every start of every program. Times are measured in benchmarks/.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import seclude as package
from support import run

FORBIDDEN = {
    "argparse", "asyncio", "collections", "contextlib", "dataclasses", "enum", "functools", "importlib.metadata",
    "importlib.resources", "inspect", "json", "logging", "pathlib", "re", "shutil", "signal", "socket", "subprocess",
    "tempfile", "traceback", "typing",
}  # fmt: skip

# Without site (-S) and the environment (-E), so that only what Seclude itself asks for is seen. os._exit would hide an
# atexit handler that imports; the list is written after main has returned, just before the interpreter ends.
HARNESS = """
import sys
sys.path.insert(0, sys.argv.pop(1))
out = sys.argv.pop(1)
before = set(sys.modules)
sys.argv[0] = "seclude"
from seclude.cli.main import main
code = main()
with open(out, "w") as file:
    file.write("\\n".join(sorted(set(sys.modules) - before)))
sys.exit(code)
"""
SOURCE = str(Path(package.__file__).parent.parent)


def imported(tmp_path, *words):
    """The modules that ``seclude WORDS`` loaded, after checking that it succeeded."""
    out = tmp_path / "modules"
    env = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run([sys.executable, "-ESsB", "-c", HARNESS, SOURCE, str(out), *words], env=env)
    assert done.status == 0, str(done)
    return set(out.read_text().split()), done


def test_version_imports_only_the_command_line(tmp_path):
    modules, done = imported(tmp_path, "--version")
    assert done.stdout == f"seclude {package.__version__}\n"
    assert not modules & FORBIDDEN
    assert {name for name in modules if name.startswith("seclude")} == {
        "seclude",
        "seclude._version",
        "seclude.cli",
        "seclude.cli.main",
        "seclude.errors",
    }


@pytest.mark.live
def test_run_with_a_preset_stays_in_the_budget(tmp_path):
    modules, _ = imported(tmp_path, "run", "--", "/bin/true")
    assert "seclude.cli.run" in modules
    assert not modules & FORBIDDEN


@pytest.mark.live
@pytest.mark.slow
def test_run_with_a_cached_policy_stays_in_the_budget(tmp_path):
    policy = tmp_path / "own.seclude"
    policy.write_text("include container\nerrno(EACCES) mkdir, mkdirat\n")
    first, _ = imported(tmp_path, "run", "--policy", str(policy), "--", "/bin/true")
    assert "seclude.policy" in first, "the first run compiles"
    second, _ = imported(tmp_path, "run", "--policy", str(policy), "--", "/bin/true")
    assert "seclude.policy" not in second, "the second run reads the cache"
    assert not second & FORBIDDEN


@pytest.mark.live
@pytest.mark.slow
def test_a_supervised_run_with_a_cached_policy_stays_in_the_budget(tmp_path):
    words = (
        "run",
        "--read",
        "/usr",
        "--connect",
        "127.0.0.1:9",
        "--trace",
        "openat",
        "--trace-file",
        str(tmp_path / "trace"),
        "--",
        "/bin/true",
    )
    imported(tmp_path, *words)  # compiles
    # The supervisor is a child of the command; the interpreter's own report of imports comes from both.
    env = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run([sys.executable, "-X", "importtime", "-ESsB", "-c", HARNESS, SOURCE, str(tmp_path / "modules"), *words], env=env)
    assert done.status == 0, str(done)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"seclude.supervise.files_open", "seclude.supervise.network", "seclude.supervise.tracer"} <= loaded
    assert not loaded & FORBIDDEN


def test_import_seclude_loads_no_room():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); import seclude; print(*sorted(set(sys.modules) - before))"
    )
    done = run([sys.executable, "-ESsc", code, SOURCE])
    assert done.stdout.split() == ["__future__", "seclude", "seclude._version"]


def test_public_names_all_exist():
    for name in package.__all__:
        assert getattr(package, name) is not None, name
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018 - the access is the test


def public_modules():
    here = Path(package.__file__).parent
    return sorted(path for path in here.rglob("*.py") if path.name != "__main__.py")


@pytest.mark.parametrize("path", public_modules(), ids=lambda path: str(path.relative_to(Path(package.__file__).parent)))
def test_every_module_says_what_it_is_for(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path} needs a docstring"
