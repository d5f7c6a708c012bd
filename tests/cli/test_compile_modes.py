"""``seclude compile --optimize-for`` reaches the compiler: modes make different filters of one policy, all with its meaning."""

from seclude.bpf import Program
from seclude.cli.main import main
from seclude.decision import from_program


def test_modes_differ_in_code_and_not_in_meaning(tmp_path, capsys):
    made = {}
    for mode in ("uniform", "bitmap"):
        assert main(["compile", "container", "--arch", "x86_64", "--optimize-for", mode, "-o", str(tmp_path / mode)]) == 0
        made[mode] = Program.from_bytes((tmp_path / mode).read_bytes(), "little")
    assert made["uniform"] != made["bitmap"]
    assert from_program(made["uniform"]) is from_program(made["bitmap"])
    assert capsys.readouterr().err == ""
