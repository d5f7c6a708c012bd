"""The front door: shipped, cached and fresh artifacts are the same, and stale ones are never used."""

import os
import runpy
import shutil
from pathlib import Path

import pytest

from seclude.compiler.artifact import Artifact
from seclude.errors import PolicyError
from seclude.policy import PRESETS, parse
from seclude.sandbox import prepare as front
from seclude.sandbox.prepare import prepare
from support import ROOT, run_python

POLICY = "default errno(EPERM)\narch x86_64, x86\nallow read, write, exit_group\nallow socket(domain == AF_UNIX)\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "p.seclude"
    path.write_text(POLICY)
    return path


def same(a, b):
    a.summary.pop("cache", None)
    b.summary.pop("cache", None)
    return a == b


def test_shipped_presets_are_up_to_date_and_the_same_as_compiled():
    files = runpy.run_path(str(ROOT / "tools" / "compile_presets.py"))
    place = files["PLACE"]
    wanted = files["compiled"]()
    assert {path.name for path in place.iterdir()} == wanted.keys()
    for name, raw in wanted.items():
        assert (place / name).read_bytes() == raw, "run: python tools/compile_presets.py"


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("native", ["x86_64", "aarch64"])
def test_presets_come_compiled(name, native):
    shipped = prepare(name, native=native)
    assert shipped.summary["cache"] == "shipped with the package"
    assert same(shipped, prepare(name, native=native, cache=False))


def test_other_natives_are_compiled():
    first = prepare("container", native="s390x")
    assert first.summary["cache"] == "stored"
    assert first.byteorder == "big"
    again = prepare("container", native="s390x")
    assert again.summary["cache"] == "hit"
    assert same(first, again)


def test_a_preset_whose_text_changed_is_compiled(tmp_path, monkeypatch):
    package = tmp_path / "package"
    for part in ("policy/presets", "compiler/presets"):
        shutil.copytree(ROOT / "src/seclude" / part, package / part)
    monkeypatch.setattr(front, "_PACKAGE", str(package))
    assert prepare("container", native="x86_64").summary["cache"] == "shipped with the package"
    with open(package / "policy/presets/container.seclude", "a") as file:
        file.write("# changed\n")
    assert prepare("container", native="x86_64").summary["cache"] != "shipped with the package"


@pytest.mark.parametrize("damage", [b"", b"SECLUDE\x01", b"SECLUDE\x02"])
def test_a_damaged_shipped_preset_is_compiled(tmp_path, monkeypatch, damage):
    package = tmp_path / "package"
    for part in ("policy/presets", "compiler/presets"):
        shutil.copytree(ROOT / "src/seclude" / part, package / part)
    monkeypatch.setattr(front, "_PACKAGE", str(package))
    (package / "compiler/presets/container.x86_64").write_bytes(damage)
    assert prepare("container", native="x86_64").summary["cache"] == "stored"


def test_a_file_is_cached(policy):
    first = prepare(policy, native="x86_64")
    again = prepare(policy, native="x86_64")
    assert (first.summary["cache"], again.summary["cache"]) == ("stored", "hit")
    assert same(first, again)
    assert same(first, prepare(policy, native="x86_64", cache=False))
    assert first.summary | {"calls": "4", "default": "errno(EPERM)", "architectures": "x86_64, x86"} == first.summary


@pytest.mark.parametrize(
    "change",
    [
        {"native": "aarch64"},
        {"rules": [("allow", "getpid")]},
        {"rules": [("deny", "read")]},
        {"rules": [("allow", "getpid"), ("deny", "read")]},
    ],
)
def test_everything_that_matters_is_in_the_key(policy, change):
    prepare(policy, native="x86_64")
    other = prepare(policy, **({"native": "x86_64"} | change))
    assert other.summary["cache"] == "stored"
    assert prepare(policy, **({"native": "x86_64"} | change)).summary["cache"] == "hit"
    assert prepare(policy, native="x86_64").summary["cache"] == "hit"


def test_extra_rules_come_first_and_in_order(policy):
    both = prepare(policy, native="x86_64", rules=[("deny", "read(fd == 7)"), ("allow", "read")])
    assert both.overrides == (("deny", "read(fd == 7)"), ("allow", "read"))
    assert [file for file, _ in both.sources] == [str(policy), "--deny", "--allow"]
    with pytest.raises(PolicyError, match="--allow"):
        prepare(policy, rules=[("allow", "no_such_call")])


def test_an_included_file_that_changed_is_noticed(tmp_path):
    (tmp_path / "inner.seclude").write_text("allow read\n")
    (tmp_path / "outer.seclude").write_text("default kill\narch x86_64\ninclude ./inner.seclude\nallow write\n")
    outer = tmp_path / "outer.seclude"
    first = prepare(outer, rules=[("allow", "getpid")])
    assert prepare(outer, rules=[("allow", "getpid")]).summary["cache"] == "hit"
    (tmp_path / "inner.seclude").write_text("allow getppid\n")
    second = prepare(outer, rules=[("allow", "getpid")])
    assert second.summary["cache"] == "stored"
    assert second.plain != first.plain
    (tmp_path / "inner.seclude").unlink()
    with pytest.raises(PolicyError):
        prepare(outer, rules=[("allow", "getpid")])


def test_a_changed_file_is_compiled_again(policy):
    first = prepare(policy, native="x86_64")
    policy.write_text(POLICY + "allow getpid\n")
    second = prepare(policy, native="x86_64")
    assert second.summary["cache"] == "stored"
    assert second.plain != first.plain


def test_a_cache_that_cannot_be_used_is_said(policy, home):
    os.makedirs(home / "cache" / "seclude", mode=0o700)
    os.chmod(home / "cache" / "seclude", 0o755)
    assert "open to other users" in prepare(policy, native="x86_64").summary["cache"]
    assert os.listdir(home / "cache" / "seclude") == []


def test_a_pipe_is_read_once(policy):
    read, write = os.pipe()
    os.write(write, POLICY.encode())
    os.close(write)
    try:
        artifact = prepare(f"/dev/fd/{read}", native="x86_64")
    finally:
        os.close(read)
    assert artifact.plain == prepare(policy, native="x86_64").plain


def test_a_policy_made_in_python():
    artifact = prepare(parse(POLICY), rules=[("allow", "getpid")])
    assert artifact.sources[0][1] == POLICY
    assert artifact.plain == prepare(parse(POLICY + "allow getpid"), cache=False).plain


def test_what_is_wrong_is_said(tmp_path):
    (tmp_path / "bad.seclude").write_text("default kill\nallow ptrace\nkill ptrace\n")
    with pytest.raises(PolicyError, match=r"bad\.seclude:3:"):
        prepare(tmp_path / "bad.seclude")
    with pytest.raises(PolicyError):
        prepare("no-such-preset")
    with pytest.raises(PolicyError):
        prepare(tmp_path / "missing.seclude")


@pytest.mark.slow
def test_the_run_path_imports_nothing_heavy(policy):
    prepare(policy, native="x86_64")
    code = f"""
import sys
before = set(sys.modules)
from seclude.sandbox.prepare import prepare
assert prepare("container", native="x86_64").summary["cache"] == "shipped with the package"
assert prepare({str(policy)!r}, native="x86_64").summary["cache"] == "hit"
print(sorted(set(sys.modules) - before))
"""
    done = run_python(code, env={"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]})
    assert done.status == 0, done
    loaded = set(eval(done.stdout))
    assert not {name for name in loaded if name.startswith(("seclude.policy", "seclude.decision", "seclude.compiler.build", "hashlib"))}, (
        done
    )
    assert not loaded & {"dataclasses", "typing", "re", "enum", "json", "pathlib", "functools", "contextlib", "collections"}, done


def test_artifacts_read_back():
    raw = Path(ROOT / "src/seclude/compiler/presets/container.x86_64").read_bytes()
    assert Artifact.from_bytes(raw).to_bytes() == raw
