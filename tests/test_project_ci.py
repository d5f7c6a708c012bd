"""The files around the code agree with it: what .ci/run installs, what Makefile says, what the changelog knows."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
import tomllib

import pytest

import seclude as package
from seclude.cli.main import COMMANDS
from support import ROOT

NEEDS = ("need_program", "need_header", "need_system_module")


def installed():
    """The packages that .ci/run installs."""
    command = re.search(r"apt-get [^\n]*install[^\\]*((?:\\\n[^\\\n]*)+)", (ROOT / ".ci/run").read_text())
    assert command
    return command[1].replace("\\", " ").split()


def needs():
    """Each need_* call in the tests with the package it names; where that is put together, a pattern."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in NEEDS):
                continue
            last = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "package")][-1]
            parts = last.values if isinstance(last, ast.JoinedStr) else [last]
            yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(str(p.value) if isinstance(p, ast.Constant) else "*" for p in parts)


def test_continuous_run_installs_what_tests_need():
    packages = installed()
    for place, pattern in needs():
        assert any(fnmatch.filter(packages, word) for word in pattern.split()), f"{place} needs {pattern}, which .ci/run does not install"


def test_continuous_run_is_a_program():
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_changelog_knows_the_version_or_has_it_unreleased():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{package.__version__}]" in text or "## [Unreleased]" in text


def test_changelog_names_every_command():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert [name for name in COMMANDS if not re.search(rf"`(?:seclude )?{name}\b", text)] == []


def test_the_package_needs_the_standard_library_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dependencies"] == []


def test_every_ignored_lint_rule_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text()
    lines = text[text.index("ignore = [") : text.index("]", text.index("ignore = ["))].splitlines()[1:]
    assert lines
    for line in lines:
        assert re.search(r'",\s+# \S', line), line


def test_rooms_are_all_under_the_room_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = set(project["tool"]["importlinter"]["contracts"][0]["layers"])
    here = ROOT / "src/seclude"
    rooms = {f"seclude.{path.name}" for path in here.iterdir() if (path / "__init__.py").exists()} | {"seclude.errors"}
    assert rooms == layers


@pytest.mark.parametrize(("page", "form"), [("CONTRIBUTING.md", r"^\| `(\w+)/?` \|"), ("docs/explanation/house.md", r"^- \*\*(\w+)\*\*:")])
def test_pages_about_the_house_name_every_room_from_the_ground_up(page, form):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = [layer.removeprefix("seclude.") for layer in project["tool"]["importlinter"]["contracts"][0]["layers"]]
    assert re.findall(form, (ROOT / page).read_text(), re.MULTILINE) == layers[::-1]


def test_contributing_names_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"(?<![\w/])(?:src|tests|tools|docs|examples|benchmarks)/[\w./]*\w", text)
    modules = [name.replace(".", "/") + ".py" for name in re.findall(r"python -m (tools\.\w+)", text)]
    assert len(paths) + len(modules) > 20
    for path in {*paths, *modules} - {"src/seclude/cli/NAME.py"}:
        assert (ROOT / path).exists(), path
