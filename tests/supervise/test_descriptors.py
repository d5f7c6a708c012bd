"""What waits for a target may hold a share of the supervisor's descriptors, and no more."""

import resource

import pytest

import support
from seclude.supervise import descriptors


@pytest.mark.parametrize(
    ("soft", "expected"), [(64, 32), (256, 32), (1024, 800), (1 << 20, (1 << 16) - 224), (resource.RLIM_INFINITY, 1 << 16)]
)
def test_capacity_leaves_the_supervisor_its_own(monkeypatch, soft, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, soft))
    assert descriptors.capacity() == expected


def test_a_share_is_given_out_once(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 1024))
    share = descriptors.Share(4)
    assert share.take(150)
    assert not share.take(51)
    assert share.take(50)
    share.give(150)
    assert share.take(150)
    assert share.used == 200


@pytest.mark.parametrize(("limits", "expected"), [((100, 300), 300), ((300, 300), 300)])
def test_the_limit_is_raised_to_what_is_permitted(limits, expected):
    code = f"""
    import resource
    from seclude.supervise import descriptors
    resource.setrlimit(resource.RLIMIT_NOFILE, {limits})
    descriptors.raise_limit()
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))
    """
    assert support.run_python(code).stdout.split() == [str(expected)] * 2
