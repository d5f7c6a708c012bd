"""The page of ``seclude report`` as text: what it says, what it never holds, and the command that writes it. In a browser: tests/live."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import pty
import re
import sys
from html.parser import HTMLParser

import pytest

import seclude as package
from report_support import docker_profile
from seclude import abi
from seclude.analysis.report import Input, report
from seclude.analysis.report_calls import KINDS, kind_of, kind_of_value, shown_architectures, table
from seclude.analysis.report_groups import FAMILIES, OTHERS, TIERS, family_of
from seclude.bpf import assemble
from seclude.decision import from_policy, from_program, stack
from seclude.errors import BudgetError, UsageError
from seclude.policy import GROUPS, PRESETS, evaluate, load, parse
from support import once, run, run_python, seclude

X86_64 = abi.arch("x86_64")
LARGEST = 1_500_000


def preset(name, native="x86_64"):
    policy = load(name, native=native)
    return Input(name, from_policy(policy), f"{name} (policy)", policy)


def written(text, name="a.seclude"):
    policy = parse(text, name, native="x86_64")
    return Input(name, from_policy(policy), "policy", policy)


VOID = ("meta", "link", "input", "br")


class Parsed(HTMLParser):
    """The elements of a page: (tag, attributes), all ids, and the text of every element by tag."""

    def __init__(self, page):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.stack: list[str] = []
        self.declared = ""
        self.feed(page)
        self.close()
        self.ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def handle_decl(self, decl):
        self.declared = decl

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag == "p" and self.stack[-1] != "p":
            return
        assert self.stack.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.stack:
            self.texts.setdefault(self.stack[-1], []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


# ── families ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_families_name_what_exists_and_have_one_key_each():
    known = {call for arch in abi.ALL for call in arch.calls()}
    for family in FAMILIES:
        assert family.tier in range(len(TIERS))
        for name in family.groups:
            assert name in (GROUPS if name.startswith("@") else known), name
    keys = [family.key for family in (*FAMILIES, OTHERS)]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)


@pytest.mark.parametrize("arch", ["x86_64", "x86", "aarch64", "riscv64"])
def test_every_call_of_usual_architectures_has_a_family(arch):
    assert [call for call in abi.arch(arch).calls() if family_of(call) is OTHERS] == []


def test_powerful_calls_stand_in_the_upper_tiers():
    upper = [
        "init_module",
        "mount",
        "bpf",
        "ptrace",
        "setns",
        "unshare",
        "reboot",
        "io_uring_setup",
        "process_vm_writev",
        "clone",
        "keyctl",
        "socketcall",
        "ioctl",
    ]
    assert all(family_of(call).tier < 2 for call in upper)
    assert all(family_of(call).tier == 3 for call in ["read", "write", "exit_group", "brk", "mmap", "clock_gettime", "epoll_wait"])


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PRESETS)
def test_each_call_is_shown_once_with_what_the_policy_says(name):
    policy = load(name, native="x86_64")
    decision = from_policy(policy)
    for arch in policy.architectures:
        calls = table([decision], arch).calls
        assert [call.name for call in calls] == sorted(arch.calls())
        for call in calls:
            outcome = evaluate(policy, arch, call.number, (0,) * 6)
            answers = {way.answer: way for way in call.ways[0]}
            assert len(answers) == len(call.ways[0])
            kind = kind_of_value(outcome.value)
            if not call.conditional:
                assert (kind, call.ways[0][0].when) == (call.first, "")
            else:
                assert kind in {way.kind for way in call.ways[0]}
                assert all(way.when for way in call.ways[0])


KIND_POLICY = """
default errno(EPERM)
arch x86_64
allow read, socket(domain == AF_UNIX)
log write
notify connect, openat(flags == 0)
trace(7) bind
kill ptrace
kill_thread mount
trap(3) unshare
"""


def test_kinds():
    decision = from_policy(parse(KIND_POLICY))
    kinds = {call.name: call.first for call in table([decision], X86_64).calls}
    expected = {
        "read": "allowed", "socket": "partly", "write": "allowed", "connect": "asked", "openat": "asked", "bind": "asked",
        "ptrace": "killed", "mount": "killed", "unshare": "refused", "getpid": "refused",
    }  # fmt: skip
    assert {name: kinds[name] for name in expected} == expected


def test_an_action_that_the_kernel_does_not_know_kills():
    decision = from_program(assemble("return 0x12340000"))
    assert kind_of(decision.root) == "killed"


def test_x32_has_a_table_only_where_something_of_it_is_let_through():
    closed = from_policy(parse("default kill\narch x86_64\nallow read"))
    opened = from_policy(parse("default kill\narch x86_64\nx32 allow\nallow read"))
    home = X86_64
    assert [arch.name for arch in shown_architectures([closed], (), home)] == ["x86_64"]
    assert [arch.name for arch in shown_architectures([opened], (), home)] == ["x86_64", "x32"]


def test_a_filter_that_does_not_look_at_the_architecture_is_shown_for_the_one_at_home():
    decision = from_program(assemble("A = sys_number\nif (A == 39) goto ok\nreturn KILL_PROCESS\nok:\nreturn ALLOW"))
    arm = abi.arch("arm")
    assert shown_architectures([decision], (), arm) == [arm]
    page = Parsed(report([Input("f", decision)], home=arm))
    assert "c-arm-link" in page.ids
    assert "not looked at" in " ".join(page.texts["dd"])


def test_numbers_without_a_name_are_all_there():
    decision = from_policy(parse("default errno(EPERM)\narch x86_64\nallow read\nunknown errno(ENOSYS)\nx32 trap\nnegative kill\n"))
    rest = table([decision], X86_64).rest
    assert [(piece.numbers.split()[0], [way.answer for way in piece.ways[0]]) for piece in rest] == [
        ("337", ["ERRNO(ENOSYS)"]),
        ("numbers", ["TRAP"]),
        ("negative", ["KILL_PROCESS"]),
    ]


def test_numbers_told_apart_by_single_bits_are_said_to_be():
    decision = from_program(assemble("A = sys_number\nA &= 0x55555555\nif (A == 0x11111111) goto ok\nreturn KILL\nok:\nreturn ALLOW"))
    page = report([Input("bits", decision)], home=X86_64)
    assert "told apart by single bits" in page


def test_a_condition_that_nearly_all_calls_share_is_spelt_once():
    # Each of several hundred calls would otherwise be spelt anew, with its own parameters' names.
    program = assemble(
        "A = args[2]\nA &= 0x5a5a5a5a\nif (A == 0x12481248) goto no\nA = args[0]\nif (A == 77) goto no\nreturn ALLOW\nno:\nreturn KILL"
    )
    calls = table([from_program(program)], X86_64).calls
    assert {call.ways for call in calls} == {calls[0].ways}
    assert "arg0" in calls[0].ways[0][0].when
    few = from_policy(parse("default errno(EPERM)\narch x86_64\nallow socket(domain == AF_UNIX), socketpair(domain == AF_UNIX)"))
    assert {call.name: call.ways[0][0].when for call in table([few], X86_64).calls}["socketpair"] == "domain == AF_UNIX"


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


INPUTS = {
    "one": lambda: [preset("container")],
    "two": lambda: [preset("container"), preset("readonly")],
    "equal": lambda: [preset("container"), preset("container")],
    "docker": lambda: [docker_input()],
}


@pytest.fixture(scope="module")
def pages():
    """Each is made once in a run of the tests, whichever process of it asks first."""
    return {name: once(f"{name}.html", functools.partial(write_page, name)).read_text(encoding="utf-8") for name in INPUTS}


def write_page(name, path):
    path.write_text(report(INPUTS[name]()), encoding="utf-8")


def docker_input():
    from seclude import formats

    profile = formats.read(docker_profile(), "docker.json")
    return Input("docker.json", profile.decision, "oci", byteorder=profile.byteorder)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["one", "two", "equal", "docker"])
def test_page_is_well_formed_and_loads_nothing(pages, which):
    page = pages[which]
    assert len(page.encode()) < LARGEST
    parsed = Parsed(page)
    assert parsed.declared == "doctype html"
    assert parsed.stack == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert len(parsed.all("script")) == len(parsed.all("style")) == 1
    for tag, attributes in parsed.elements:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith(("#", "data:,")), attributes
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset", "action")], attributes
        for name in ("aria-controls", "aria-labelledby", "for"):
            assert set(attributes.get(name, "").split()) <= set(parsed.ids), attributes
        if "href" in attributes and len(attributes["href"]) > 1 and attributes["href"][0] == "#":
            assert attributes["href"][1:] in parsed.ids, attributes
    policy = next(one["content"] for one in parsed.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        text = "".join(parsed.texts[tag])
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        assert not re.search(r"https?:|url\(|@import|import\(|fetch|XMLHttp", text)


@pytest.mark.slow
def test_page_says_what_was_read(pages):
    text = " ".join(pages["one"].split())
    for words in ("errno(EPERM)", "KILL_PROCESS", "compiled and proven equal", "x86_64, x86", "domain == AF_UNIX", "Policy as read"):
        assert words in text, words


@pytest.mark.slow
def test_page_of_two_says_where_they_differ(pages):
    text = pages["two"]
    assert "Only A lets through" in text
    assert "Only B lets through" not in text
    parsed = Parsed(text)
    cells = {one["id"]: one for tag, one in parsed.elements if tag == "span" and "c" in one.get("class", "").split()}
    assert "differs: A allowed, B refused" in cells["c-x86_64-unlink"]["aria-label"]
    assert cells["c-x86_64-read"]["aria-label"] == "read, allowed"
    assert "The two mean the same" in pages["equal"]
    assert "Differ" not in [title.strip() for title in Parsed(pages["equal"]).texts["h4"]]


HOSTILE = "</title></style></script><script>alert(1)</script><img src=//evil onerror=x>\"'&{{7*7}}{% x %}\x1b[31m\u202e\udcff"


@pytest.mark.slow
def test_hostile_names_and_texts_stay_text():
    text = f"default errno(EPERM) # {HOSTILE}\narch x86_64\nallow read\n# lint: ignore L24: {HOSTILE[:60]}\n"
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\x1b", "?")
    policy = parse(text, HOSTILE.replace("/", "|"), native="x86_64")
    one = Input(HOSTILE, from_policy(policy), HOSTILE, policy)
    for inputs in ([one], [one, preset("compute")]):
        page = report(inputs)
        page.encode()  # no lone surrogates
        parsed = Parsed(page)
        assert len(parsed.all("script")) == 1
        assert not parsed.all("img")
        assert "alert(1)" not in "".join(parsed.texts["script"])
        assert "49" not in "".join(parsed.texts["title"])
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert all("onerror" not in attributes for _, attributes in parsed.elements)


@pytest.mark.slow
def test_same_inputs_same_page():
    code = """
        import hashlib
        from seclude.analysis.report import Input, report
        from seclude.decision import from_policy
        from seclude.policy import load
        made = [Input(n, from_policy(load(n, native="x86_64")), "", load(n, native="x86_64")) for n in ("container", "compute")]
        print(hashlib.sha256(report(made).encode()).hexdigest())
    """
    found = {run_python(code, env={"PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")}
    assert len(found) == 1
    assert len(found.pop()) == 65


@pytest.mark.slow
def test_pages_of_large_filters_stay_small():
    for one in (preset("container"), docker_input()):
        assert len(report([one]).encode()) < LARGEST


def test_raw_filter_is_shown_as_given_with_findings_at_its_instructions():
    program = assemble("A = arch\nif (A != ARCH_X86_64) goto bad\nreturn ALLOW\nbad:\nreturn ALLOW")
    text = report([Input("open.bpf", from_program(program), programs=(program,))])
    assert "as given" in text
    assert "critical" in text


def test_a_stack_of_filters_is_shown_as_one_meaning_and_several_programs():
    first = assemble("A = sys_number\nif (A == 101) goto no\nreturn ALLOW\nno:\nreturn ERRNO(EPERM)")
    second = assemble("A = sys_number\nif (A == 165) goto no\nreturn ALLOW\nno:\nreturn KILL_PROCESS")
    together = stack(from_program(first), from_program(second))
    parsed = Parsed(report([Input("pid:7", together, "filters of a process", programs=(first, second), notes=("seen <b>",))], home=X86_64))
    cells = {one["id"]: one["data-k"] for tag, one in parsed.elements if tag == "span" and "data-k" in one}
    assert (cells["c-x86_64-ptrace"], cells["c-x86_64-mount"], cells["c-x86_64-read"]) == ("refused", "killed", "allowed")
    assert [title for title in parsed.texts["h3"] if title.startswith("Filter")] == ["Filter 1 of 2", "Filter 2 of 2"]
    assert len([one for one in parsed.all("svg") if one.get("class") == "flow"]) == 2
    assert "seen <b>" in parsed.texts["p"]


@pytest.mark.slow
def test_a_decision_that_fits_no_program_is_still_shown():
    values = ", ".join(str(value * value) for value in range(1, 4500))
    text = report([written(f"default errno(EPERM)\narch x86_64\nallow read(count:u64 in {{{values}}})\n")])
    assert "4096" in text
    assert "c-x86_64-read" in text


def test_what_is_too_much_to_judge_or_to_list_is_said(monkeypatch):
    def exhausted(*_, **__):
        raise BudgetError("more than 7 nodes")

    first, second = written("default errno(EPERM)\narch x86_64\nallow read\n"), written("default errno(EPERM)\narch x86_64\nallow write\n")
    monkeypatch.setattr("seclude.analysis.report.lint", exhausted)
    monkeypatch.setattr("seclude.analysis.report.change_rows", exhausted)
    text = " ".join(report([first, second]).split())
    assert "Not judged: more than 7 nodes" in text
    assert "They cannot be listed: more than 7 nodes" in text
    assert "Nothing found" not in text


def test_one_or_two():
    one = written("default allow\narch x86_64\n")
    for inputs in ([], [one] * 3):
        with pytest.raises(UsageError, match="one or two"):
            report(inputs)


def test_kinds_have_each_a_sign_of_their_own():
    assert len({kind.sign for kind in KINDS.values()}) == len(KINDS)


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_command_writes_a_file_and_says_so(tmp_path):
    done = seclude("report", "compute", cwd=tmp_path)
    assert (done.status, done.stdout, done.stderr) == (0, "compute.html\n", "")
    assert (tmp_path / "compute.html").read_text().startswith("<!doctype html>")
    assert os.listdir(tmp_path) == ["compute.html"]
    done = seclude("report", "compute", "readonly", "--output", "-", cwd=tmp_path)
    assert (done.status, done.stdout[:15]) == (0, "<!doctype html>")
    done = seclude("report", "compute", "readonly", cwd=tmp_path)
    assert (done.status, done.stdout) == (0, "compute-vs-readonly.html\n")


@pytest.mark.slow
def test_a_name_that_leads_elsewhere_does_not_lead_the_page_there(tmp_path):
    (tmp_path / "in").mkdir()
    name = "..;rm -rf $HOME.seclude"
    (tmp_path / name).write_text("default errno(EPERM)\narch x86_64\nallow read\n")
    done = seclude("report", f"../{name}", cwd=tmp_path / "in")
    assert done.status == 0
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["_rm_-rf__HOME.html"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name what to report on"),
        (("nothing-there",), "no such file"),
        (("compute", "readonly", "container"), "input"),
        (("compute", "-o", "/nonexistent/page.html"), "cannot be written"),
        (("compute", "--arch", "x87"), "x86"),
    ],
)
def test_failures_are_125_and_leave_no_file(tmp_path, words, message):
    done = seclude("report", *words, cwd=tmp_path)
    assert done.status == 125
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_terminal_gets_no_page(tmp_path):
    ours, theirs = pty.openpty()
    try:
        done = run([sys.executable, "-m", "seclude", "report", "compute", "-o", "-"], stdout=theirs, cwd=tmp_path)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.status == 125
    assert "terminal" in done.stderr


@pytest.mark.slow
def test_without_the_extra_one_line_says_what_to_install():
    done = run_python(
        """
        import sys
        sys.modules["jinja2"] = None
        from seclude.cli.main import main
        sys.exit(main(["report", "compute", "-o", "-"]))
        """
    )
    assert done.status == 125
    assert done.stderr.count("\n") == 1
    assert "seclude[report]" in done.stderr
    assert done.stdout == ""


def test_templates_are_part_of_the_package():
    where = os.path.join(os.path.dirname(package.__file__), "analysis", "report_templates")
    assert sorted(os.listdir(where)) == ["report.css", "report.html", "report.js"]
