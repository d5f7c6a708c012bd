import pytest

from lint_support import CASES, CLEAN, Case, judge
from seclude.analysis.lint_rules import RULES
from seclude.decision.compare import PERMIT, action_class

#: findings about answers or instructions rather than about what is let through
_NOT_PERMITTED = {"L08", "L09", "L32", "L33", "L34", "L35", "L36", "L37", "L39"}


def _rows(which):
    return [pytest.param(rule, case, id=f"{rule}-{index}") for rule, cases in CASES.items() for index, case in enumerate(cases[which])]


def test_every_rule_is_in_the_table():
    assert list(CASES) == list(RULES)
    assert all(have and lack for have, lack in CASES.values())


@pytest.mark.parametrize(("rule", "case"), _rows(0))
def test_found_with_a_witness(rule, case):
    decision, report = judge(case)
    found = [finding for finding in report.findings if finding.id == rule]
    assert found, [str(finding) for finding in report.findings]
    named = {call for finding in found for call in finding.calls}
    assert set(case.calls) <= named
    for finding in found:
        if finding.witness is None:
            assert rule in ("L39", "L40")
            continue
        assert finding.value == decision.value(finding.witness.words)
        if rule not in _NOT_PERMITTED:
            assert action_class(finding.value) == PERMIT
        if finding.witness.name in finding.calls:
            assert finding.witness.arch.name in finding.archs


@pytest.mark.parametrize(("rule", "case"), _rows(1))
def test_not_found(rule, case):
    _, report = judge(case)
    assert [str(finding) for finding in report.findings if finding.id == rule and finding.id != "L08"] == []
    if rule == "L08":
        assert not [finding for finding in report.findings if finding.id == "L08"]


def test_a_clean_policy_has_no_findings():
    _, report = judge(Case(CLEAN))
    assert report.findings == ()
