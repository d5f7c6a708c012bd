"""Certificates: what they count is what the machine and the judge count; no bound is above what was reached."""

import json

import pytest

from bench_support import P300, docker, docker_mean, load, p300_measured, p300_text
from seclude.bpf import converted_length
from seclude.compiler import compile as build
from seclude.compiler.certificate import _huffman
from seclude.policy import PRESETS, parse
from seclude.policy import load as policy_of


@pytest.mark.slow
@pytest.mark.parametrize("typed", [False, True])
def test_p300(typed):
    built = build(parse(p300_text(typed)), optimize_for="bitmap", weights=P300["profile"])
    certificate = built.certificate
    _, profile, uncached = p300_measured(load(bytes(built)), typed)
    assert certificate.proven
    assert certificate.instructions == len(built)
    assert certificate.path_length == converted_length(built.program)
    assert certificate.bitmap == certificate.bitmap_possible == 298
    assert (certificate.plain.calls, certificate.filtered.calls) == (298, 10)
    # The judge averages over samples of its own, the certificate over every accepted run.
    assert certificate.overall == pytest.approx(profile, abs=0.2)
    assert certificate.uncached == pytest.approx(uncached, abs=0.2)
    assert certificate.uncached_bound == pytest.approx(7.59 if typed else 8.38, abs=0.02)
    assert certificate.bound <= certificate.overall


def test_docker():
    built = build(docker(), optimize_for="uniform")
    certificate = built.certificate
    assert certificate.overall == pytest.approx(docker_mean(load(bytes(built)), built.decision), abs=0.1)
    assert certificate.bitmap == certificate.bitmap_possible > 600


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("native", ["x86_64", "s390x"])
def test_presets(name, native):
    certificate = build(policy_of(name, native=native)).certificate
    assert certificate.architecture == native
    assert 4 <= certificate.bound <= certificate.overall
    assert certificate.uncached_bound <= certificate.uncached or not certificate.filtered.calls
    assert certificate.bitmap == certificate.bitmap_possible
    assert certificate.plain.worst >= certificate.plain.mean
    assert json.loads(json.dumps(certificate.as_json()))["instructions"] == certificate.instructions
    assert "no filter below" in str(certificate)


def test_a_filter_that_permits_nothing():
    certificate = build(parse("default kill\narch x86_64\nerrno(EPERM) read\n")).certificate
    assert certificate.plain.calls == certificate.filtered.calls == 0
    assert certificate.overall == 0


def test_huffman():
    assert _huffman([1, 1, 1, 1]) == 8
    assert _huffman([5]) == 0
    assert _huffman([]) == 0
    assert _huffman([4, 2, 1, 1]) == 14
