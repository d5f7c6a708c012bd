import json

import pytest

from bench_support import docker
from lint_support import CLEAN, Case, judge, program
from seclude.analysis.lint import lint, unloadable
from seclude.analysis.lint_fix import fixed
from seclude.analysis.lint_formats import as_github, as_json, as_sarif, as_text
from seclude.bpf import Program
from seclude.decision import from_policy, from_program, permitted, stack
from seclude.errors import UsageError
from seclude.policy import PRESETS, load, parse


def policy(text, **options):
    return parse(text, "p.seclude", native="x86_64", **options)


def of(text, **options):
    one = policy(text)
    return lint(from_policy(one), policy=one, **options)


def ids(report):
    return [finding.id for finding in report.findings]


# ── presets, numbers ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("native", ["x86_64", "aarch64", "s390x", "riscv64"])
@pytest.mark.parametrize("name", PRESETS)
def test_our_presets_are_clean(name, native):
    preset = load(name, native=native)
    report = lint(from_policy(preset), policy=preset)
    assert [str(finding) for finding in report.findings] == []
    assert all(reason for _, reason in report.suppressed)


def test_a_large_profile_of_three_architectures():
    report = lint(from_policy(docker()))  # how long it takes: benchmarks/reading.py
    assert {"L06", "L12", "L20", "L26", "L29"} <= set(ids(report))


# ── places and suppressions ─────────────────────────────────────────────────────────────────────────────────────────


def test_findings_have_a_place():
    (finding,) = of(CLEAN + "allow read, ptrace\n").findings
    assert (finding.id, str(finding.span)) == ("L20", "p.seclude:4:13")
    (finding,) = of(CLEAN + "allow @reboot\n", rules=["L24"]).findings
    assert str(finding.span) == "p.seclude:4:7"
    (finding,) = of(CLEAN + "unknown allow\n", rules=["L07"]).findings
    assert str(finding.span) == "p.seclude:4:1"


def test_a_bypass_is_placed_at_the_rule_that_it_passes():
    (finding,) = of("default allow\narch x86_64\nkill socket(domain:u64 == AF_VSOCK)\n", rules=["L12"]).findings
    assert str(finding.span) == "p.seclude:3:6"


def test_a_suppression_of_its_line():
    report = of(CLEAN + "allow ptrace  # lint: ignore L20: a debugger\nallow kcmp\n")
    assert ids(report) == ["L21"]
    assert [(finding.id, reason) for finding, reason in report.suppressed] == [("L20", "a debugger")]


def test_a_suppression_behind_another_line_is_none():
    report = of(CLEAN + "allow ptrace\nallow read  # lint: ignore L20: a debugger\n")
    assert ids(report) == ["L20", "L40"]


def test_a_suppression_of_the_file_may_name_calls():
    report = of("# lint: ignore L25(keyctl), l20: a key agent\n" + CLEAN + "allow keyctl, add_key, ptrace\n")
    (finding,) = report.findings
    assert finding.calls == ("add_key",)
    assert sorted((one.id, one.calls) for one, _ in report.suppressed) == [("L20", ("ptrace",)), ("L25", ("keyctl",))]


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("# lint: ignore L20", "gives no reason"),
        ("# lint: ignore L20:   ", "gives no reason"),
        ("# lint: ignore L99: why", "names L99, which is no rule"),
        ("# lint: ignore: why", "names no rule"),
        ("# lint: ignore L20 and more: why", "cannot be read at 'and more'"),
        ("# lint: ignore L21: why", "nothing is found that this suppresses: L21"),
    ],
)
def test_suppressions_are_judged(comment, said):
    report = of(CLEAN + f"allow ptrace\n{comment}\n")
    assert ids(report) == ["L20", "L40"]
    assert said in report.findings[1].text
    assert report.findings[1].span.line == 5


def test_an_included_file_suppresses_for_itself():
    def include(name, above):
        return name, "# lint: ignore L20: a debugger\nallow ptrace\n"

    one = parse(CLEAN + "include ./other.seclude\nallow kcmp\n", "p.seclude", native="x86_64", include=include)
    report = lint(from_policy(one), policy=one)
    assert ids(report) == ["L21"]


# ── profiles, stacks, programs ──────────────────────────────────────────────────────────────────────────────────────


def test_profiles_weigh_differently():
    text = CLEAN + "allow mmap, openat, read, write\n"
    severities = {
        use: {finding.id: finding.level for finding in of(text, profile=use).findings if finding.id in ("L29", "L38")}
        for use in ("", "container", "service", "compute")
    }
    assert severities == {
        "": {"L29": "medium", "L38": "note"},
        "container": {"L29": "note", "L38": "note"},
        "service": {"L29": "medium", "L38": "low"},
        "compute": {"L29": "medium", "L38": "high"},
    }
    with pytest.raises(UsageError, match="no profile of use 'desktop'"):
        of(text, profile="desktop")


def test_a_stack_is_judged_together():
    open_filter = program("A = arch\nif (A == ARCH_I386) return KILL_PROCESS\nreturn ALLOW\n")
    narrow = program(
        "A = arch\nif (A != ARCH_X86_64) return KILL_PROCESS\nA = sys_number\nif (A == ptrace) return ALLOW\nreturn ERRNO(1)\n"
    )
    together = lint(stack(from_program(open_filter), from_program(narrow)), [open_filter, narrow])
    assert "L20" in ids(together)
    assert "L02" not in ids(together)
    assert "L23" not in ids(together)
    assert "L02" in ids(lint(from_program(open_filter), [open_filter]))


def test_what_the_kernel_refuses_is_a_finding():
    report = unloadable([Program(((0x20, 0, 0, 3), (0x06, 0, 0, 0)), "little")])
    assert [finding.level for finding in report.findings] == ["critical"]
    assert "the kernel refuses it" in report.findings[0].text


def test_unknown_rules():
    with pytest.raises(UsageError, match="no lint rule 'L100'"):
        of(CLEAN, rules=["L100"])


# ── fixes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fixes_are_applied_and_proven():
    text = (
        "default allow\narch native, compat\ntables 7.2\nbadarch allow\nunknown allow  # for now\nkill_thread getppid\n"
        "errno(EPERM) unshare(flags & CLONE_NEWUSER != 0)\nerrno(EPERM) socket(domain:u64 == AF_VSOCK)\nallow socketcall, clone3, read\n"
    )
    before = policy(text)
    outcome = fixed(before)
    assert "badarch kill_process\nunknown errno(ENOSYS)  # for now\n" in outcome.text
    assert "errno(EPERM) socket(domain == AF_VSOCK)\n" in outcome.text
    assert "kill_process getppid" in outcome.text
    assert "allow read" in outcome.text
    assert not {"L02", "L06", "L07", "L09", "L12", "L37"} & set(ids(outcome.report))
    after = policy(outcome.text)
    assert permitted(from_policy(after)) <= permitted(from_policy(before))
    assert outcome.diff("p.seclude").startswith("--- p.seclude\n+++ p.seclude\n@@")


def test_what_cannot_be_proven_is_left():
    text = CLEAN + "allow socket(domain == AF_UNIX), ptrace\n"
    outcome = fixed(policy(text))
    assert outcome.text == text
    assert outcome.mended == ()
    assert outcome.diff("p.seclude") == ""


# ── formats ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_text():
    text = as_text("p.seclude", of(CLEAN + "allow ptrace\n"))
    assert text.startswith(
        "p.seclude:4:7: high L20: other processes can be traced: ptrace (x86_64, x86)\n    allow ptrace\n          ^^^^^^\n"
    )
    assert "  call: x86_64: ptrace(PTRACE_ATTACH, 0, 0, 0) → ALLOW\n" in text
    assert text.endswith("\np.seclude: 1 high\n")
    assert as_text("x", of(CLEAN)) == "x: nothing found\n"


def test_json():
    found = as_json("p", of(CLEAN + "allow ptrace\nallow kcmp # lint: ignore L21: yes\n"), profile="", fail_on="low", failed=True)
    assert json.loads(json.dumps(found)) == found
    assert found["schema"] == "seclude.lint/1"
    (finding,) = found["findings"]
    assert finding["rule"] == "L20"
    assert finding["place"] == {"file": "p.seclude", "line": 4, "column": 7}
    assert finding["witness"]["action"] == "ALLOW"
    assert finding["witness"]["value"] == 0x7FFF0000
    assert found["suppressed"][0]["reason"] == "yes"


def test_sarif():
    found = as_sarif([("p.seclude", of(CLEAN + "allow ptrace\nallow kcmp # lint: ignore L21: yes\n"))])
    (run,) = found["runs"]
    rules = [one["id"] for one in run["tool"]["driver"]["rules"]]
    assert len(rules) == 40
    first, second = run["results"]
    assert rules[first["ruleIndex"]] == first["ruleId"] == "L20"
    assert first["locations"][0]["physicalLocation"]["region"]["startLine"] == 4
    assert second["suppressions"] == [{"kind": "inSource", "justification": "yes"}]


def test_github():
    text = as_github("p.seclude", of(CLEAN + "allow ptrace\n"))
    assert text.startswith("::error file=p.seclude,line=4,col=7,title=L20 ptrace::other processes can be traced")
    assert text.count("\n") == 1


def test_no_defect_is_said_twice():
    _, report = judge(Case("default allow\narch x86_64, x86\nx32 allow\nunknown allow\nbadarch allow\n"))
    texts = [(finding.id, finding.text) for finding in report.findings]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(("distance", "found"), [(3, False), (31, False), (32, True), (33, True)])
def test_shifts_beyond_the_register(distance, found):
    token = ((0x20, 0, 0, 4), (0x15, 1, 0, 0xC000003E), (0x06, 0, 0, 0x80000000))
    shifted = (
        (0x20, 0, 0, 0),
        (0x01, 0, 0, distance),
        (0x6C, 0, 0, 0),
        (0x15, 0, 1, 8),
        (0x06, 0, 0, 0x7FFF0000),
        (0x06, 0, 0, 0x80000000),
    )
    _, report = judge(Case(token + shifted))
    assert any("shifts by 32 or more" in finding.text for finding in report.findings) == found
