"""``seclude policy``: its words, its exit codes, and where its output goes."""

import pytest

from seclude.cli.main import main
from seclude.policy import GROUPS, PRESETS, preset_text


def test_list_names_every_preset_and_group(capsys):
    assert main(["policy", "list"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in (*PRESETS, *GROUPS):
        assert f"  {name} " in out or f"  {name}*" in out
    assert max(map(len, out.splitlines())) < 160


def test_show_prints_presets_as_they_are_written(capsys):
    assert main(["policy", "show", "container", "@exec"]) == 0
    assert capsys.readouterr().out == preset_text("container") + "\n@exec: replacing the program\n  execve execveat\n"


def test_show_prints_a_file_as_it_is_read(tmp_path, capsys):
    path = tmp_path / "own.seclude"
    path.write_text("default   kill # strict\narch x86_64\ntables 6.18\nallow read,\n   write\n")
    assert main(["policy", "show", str(path)]) == 0
    assert capsys.readouterr().out == "default  kill_process\narch     x86_64\ntables   6.18\nallow read, write\n"


def test_check_tells_faults_from_notes(tmp_path, capsys):
    good, faulty = tmp_path / "good.seclude", tmp_path / "faulty.seclude"
    good.write_text("default kill\narch x86_64, x86\nallow read, waitpid\n")
    faulty.write_text("default kill\nallow raed\n")
    assert main(["policy", "check", str(good)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{good}: well formed, 1 rule, default kill_process, for x86_64, x86, tables 7.2\n"
    assert "note: not on x86_64, skipped there: waitpid" in err
    assert main(["policy", "check", "--quiet", str(good), str(faulty)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "did you mean 'read'" in err
    assert "note:" not in err


def test_check_finds_rules_that_never_decide(tmp_path, capsys):
    path = tmp_path / "own.seclude"
    path.write_text("default errno(EPERM)\narch x86_64\nallow ptrace\nkill ptrace, process_vm_writev\n")
    assert main(["policy", "check", str(path)]) == 1
    assert f"{path}:4:6" in capsys.readouterr().err


def test_check_takes_another_machines_point_of_view(capsys):
    assert main(["policy", "check", "--arch", "arm64", "container"]) == 0
    assert "for aarch64, arm," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what"),
        (["chek", "x"], "did you mean 'check'"),
        (["check"], "at least one"),
        (["show"], "at least one"),
        (["list", "x"], "takes no names"),
        (["show", "@bsae"], "did you mean @base"),
        (["show", "contianer"], "did you mean 'container'"),
        (["check", "/nonexistent/x.seclude"], "No such file"),
        (["check", "/proc"], "is a directory|Is a directory"),
        (["list", "--arch", "vax"], "unknown architecture 'vax'"),
    ],
)
def test_usage_and_unreadable_files_are_125(words, message, capsys):
    assert main(["policy", *words]) == 125
    out, err = capsys.readouterr()
    assert out == ""
    assert __import__("re").search(message, err)
    assert "Traceback" not in err
