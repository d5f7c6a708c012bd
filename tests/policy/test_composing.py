"""Include, prepend, and what belongs to which text."""

import pytest

from seclude import abi
from seclude.errors import PolicyError
from seclude.policy import evaluate, load, parse, prepend

TEXTS = {
    "base": "default errno(EPERM)\narch x86_64, x86\nallow read\n",
    "library": "allow write\nkill ptrace\n",
    "other": "default kill\nallow close\n",
    "one": "include two\n",
    "two": "include one\n",
    "self": "include self\n",
    "wrong": "default errno(ENOPE)\nbadarch trap(1)\n",
    "broken": "default kill\nallow raed\nalow x\n",
}


def read(text, **options):
    return parse(text, "main", include=lambda name, _: (name, TEXTS[name]), native="x86_64", **options)


def test_an_include_stands_for_its_rules_and_hands_on_its_header():
    policy = read("allow open\ninclude base\ninclude library\nallow close\n")
    assert [str(rule) for rule in policy.rules] == ["allow open", "allow read", "allow write", "kill_process ptrace", "allow close"]
    assert [rule.place for rule in policy.rules] == ["main:1", "base:3", "library:1", "library:2", "main:4"]
    assert [arch.name for arch in policy.architectures] == ["x86_64", "x86"]
    default = evaluate(policy, "x86_64", 9)
    assert (default.value, default.place) == (0x50001, "base:1")
    assert [file for file, _ in policy.sources] == ["main", "base", "library"]


def test_stated_header_lines_win_over_inherited_ones():
    policy = read("default log\narch x86_64\ninclude base\n")
    assert [arch.name for arch in policy.architectures] == ["x86_64"]
    assert evaluate(policy, "x86_64", 9).value == 0x7FFC0000


def test_two_includes_that_disagree_must_be_settled():
    with pytest.raises(PolicyError, match=r"base states 'default errno\(EPERM\)' and other 'default kill_process'"):
        read("include base\ninclude other\n")
    assert read("default allow\ninclude base\ninclude other\n").effective.badarch is not None


def test_printing_keeps_includes_and_reads_back():
    policy = read("allow open\ninclude base\n")
    assert "include base\n" in str(policy)
    assert read(str(policy)) == policy
    assert str(read(str(policy))) == str(policy)


@pytest.mark.parametrize("text", ["include one", "include self"])
def test_cycles_are_errors_that_show_the_way_round(text):
    with pytest.raises(PolicyError, match=r"includes itself: .* → "):
        read(text)


def test_inherited_actions_are_checked_where_they_stand():
    with pytest.raises(PolicyError, match="wrong:1:1: error: unknown errno 'ENOPE'"):
        read("allow read\ninclude wrong\n")


def test_faults_of_an_included_text_are_reported_in_it():
    with pytest.raises(PolicyError) as caught:
        read("include broken\nalso bad\n")
    places = [str(d.span) for d in caught.value.diagnostics]
    assert places == ["main:2:1", "broken:3:1"]


def test_files_are_found_beside_the_including_one(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.seclude").write_text("include ../b.seclude\nallow write\n")
    (tmp_path / "b.seclude").write_text("default kill\nallow read\n")
    (tmp_path / "main.seclude").write_text("include inner/a.seclude  # one after the other\n")
    policy = load(tmp_path / "main.seclude")
    assert [str(rule) for rule in policy.rules] == ["allow read", "allow write"]
    assert load(str(tmp_path / "main.seclude")) == policy
    assert parse(str(policy), str(tmp_path / "again.seclude")) == policy
    with pytest.raises(PolicyError, match="No such file"):
        parse("include gone.seclude", str(tmp_path / "main.seclude"))


def test_a_preset_can_be_included():
    policy = parse("allow ptrace\ninclude container\n", native="x86_64")
    assert evaluate(policy, "x86_64", 101).place == "<policy>:1"
    assert evaluate(policy, "x86_64", 0).place.startswith("container.seclude:")


def test_prepended_rules_come_first_and_keep_their_origin():
    policy = prepend(
        load("container", native="x86_64"), [("allow", "socket(domain == AF_INET)", "--allow"), ("errno(EACCES)", "socket, read", "--deny")]
    )
    inet, unix = (evaluate(policy, "x86_64", 41, (domain, 1, 0)) for domain in (2, 1))
    assert (inet.value, inet.place) == (0x7FFF0000, "--allow:1")
    assert (unix.value, unix.place) == (0x5000D, "--deny:1")
    assert [file for file, _ in policy.sources] == ["container.seclude", "--allow", "--deny"]
    assert policy.sources[1][1] == "allow socket(domain == AF_INET)"
    limited = prepend(policy, [("allow", "on x86: ptrace", "--allow")])
    assert evaluate(limited, "x86", 26).value == 0x7FFF0000
    assert evaluate(limited, "x86_64", 101).value == 0x50001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raed", "did you mean 'read'"),
        ("socket(domain = 1)", "unexpected character '='"),
        ("", "expected a system call"),
        ("read\nallow write", "expected one rule"),
    ],
)
def test_a_faulty_prepended_rule_is_placed_in_the_option(text, message):
    with pytest.raises(PolicyError, match=message) as caught:
        prepend(load("container"), [("allow", text, "--allow")])
    assert "--allow" in str(caught.value)


def test_files_that_are_no_policies(tmp_path):
    (tmp_path / "empty.seclude").write_bytes(b"")
    (tmp_path / "junk.seclude").write_bytes(b"\x7fELF\x02\x01\x01\x00\xff\xfe")
    (tmp_path / "big.seclude").write_bytes(b"#" * (5 << 20))
    for name, message in {
        "empty.seclude": "needs a 'default' line",
        "junk.seclude": "byte 0xff at offset 8 is not UTF-8",
        "big.seclude": "larger than 4 MiB",
        "gone.seclude": "No such file",
        "": "Is a directory",
    }.items():
        with pytest.raises(PolicyError, match=message):
            load(tmp_path / name)
    with pytest.raises(PolicyError, match="embedded null byte"):
        load("./nul\0.seclude")


def test_line_ends_and_marks_of_other_systems_are_read():
    expected = parse("default kill\nallow read\n")
    for text in ("\ufeffdefault kill\r\nallow read\r\n", "\n\n\tdefault\tkill # why\n\n  allow read", b"default kill\nallow read"):
        assert parse(text) == expected


LONG = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "allow " + "a" * LONG,
        "allow " + "raed," * (LONG // 5) + "read",
        "allow read(" + "(" * LONG,
        "allow read(" + "not " * (LONG // 4) + "fd)",
        "allow read(" + "~" * LONG,
        "allow read(fd == " + "9" * LONG + ")",
        "\x01" * LONG,
        "." * LONG,
        "include " + "x" * LONG,
        "allow read(fd == " + " | ".join("1" * (LONG // 4)) + ")",
    ],
    ids=["word", "calls", "brackets", "nots", "tildes", "digits", "junk", "dots", "include", "bits"],
)
def test_a_line_of_a_megabyte_gets_a_short_answer(text):
    with pytest.raises(PolicyError) as caught:
        parse(f"default kill\n{text}\n")
    assert len(str(caught.value)) < 8000


def test_every_call_of_a_table_can_be_listed_on_one_line():
    names = ", ".join(abi.arch("x86_64").calls())
    policy = parse(f"default kill\narch x86_64\nallow {names}\n")
    assert all(evaluate(policy, "x86_64", number).value == 0x7FFF0000 for number in abi.arch("x86_64").calls().values())
