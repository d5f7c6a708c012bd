"""Grants of addresses obey their laws: what is printed reads back the same, and what is covered is what arithmetic says."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seclude.errors import UsageError
from seclude.supervise.network_rules import Endpoint, endpoint, grants, suggestion

PORTS = st.integers(0, 65535)
V4 = st.integers(0, 2**32 - 1)
V6 = st.integers(0, 2**128 - 1) | V4.map(lambda value: 0xFFFF << 32 | value)


@st.composite
def networks(draw):
    """``(text, ipaddress network, low, high)``."""
    version = draw(st.sampled_from((4, 6)))
    bits = 32 if version == 4 else 128
    prefix = draw(st.integers(0, bits))
    value = draw(V4 if version == 4 else V6) >> bits - prefix << bits - prefix
    low, high = sorted((draw(PORTS), draw(PORTS)))
    network = (ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network)((value, prefix))
    host = str(network.network_address) + (f"/{prefix}" if prefix < bits or draw(st.booleans()) else "")
    ports = "*" if (low, high) == (0, 65535) else str(low) if low == high else f"{low}-{high}"
    return (f"{host}:{ports}" if version == 4 else f"[{host}]:{ports}"), network, low, high


def one(text, option="--connect"):
    (grant,) = grants([text], option)
    return grant


def unmapped(address):
    """An ``::ffff:0:0/96`` address as the IPv4 address that it is."""
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


@given(networks())
def test_what_is_printed_reads_back(given_network):
    text, *_ = given_network
    first = one(text)
    assert str(one(str(first))) == str(first)


@given(networks(), st.sampled_from((4, 6)), V6, PORTS)
def test_what_is_covered_is_what_arithmetic_says(given_network, version, value, port):
    text, network, low, high = given_network
    value &= (1 << 32) - 1 if version == 4 else (1 << 128) - 1
    asked = unmapped(ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value))
    if (
        isinstance(network, ipaddress.IPv6Network)
        and network.prefixlen >= 96
        and unmapped(network.network_address) != network.network_address
    ):
        network = ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    inside = asked.version == network.version and asked in network
    assert one(text).covers(Endpoint(version, value, port)) == (inside and low <= port <= high)


@given(networks())
def test_the_ends_of_a_network_are_in_it_and_their_neighbours_are_not(given_network):
    text, network, low, _ = given_network
    grant = one(text)
    version = network.version
    first, last = int(network.network_address), int(network.broadcast_address)
    mapped_inside = version == 6 and first <= 0xFFFF << 32 <= last and network.prefixlen < 96
    for value in (first, last):
        if not (mapped_inside and value >> 32 == 0xFFFF):
            assert grant.covers(Endpoint(version, value, low))
    if first:
        assert not grant.covers(Endpoint(version, first - 1, low))
    if last + 1 < 1 << network.max_prefixlen:
        assert not grant.covers(Endpoint(version, last + 1, low))


@given(V4, PORTS)
def test_a_mapped_address_is_the_ipv4_address(value, port):
    plain, mapped = Endpoint(4, value, port), Endpoint(6, 0xFFFF << 32 | value, port, 3)
    assert plain == mapped
    assert hash(plain) == hash(mapped)
    assert str(mapped) == f"{ipaddress.IPv4Address(value)}:{port}"
    assert one(f"[::ffff:{ipaddress.IPv4Address(value)}]:{port}").covers(plain)
    assert one(str(plain)).covers(mapped)


@given(st.sampled_from((4, 6)), V6, PORTS, st.integers(0, 9))
def test_what_is_suggested_allows_it(version, value, port, scope):
    asked = Endpoint(version, value & (1 << 32) - 1 if version == 4 else value, port, scope if version == 6 else 0)
    assert one(str(asked)).covers(asked)
    option, _, quoted = suggestion("--connect", str(asked)).partition(" ")
    assert option == "--connect"
    assert quoted.strip("'") == str(asked)


@given(st.binary(max_size=40), st.sampled_from((2, 10)))
def test_any_bytes_are_an_address_or_are_too_short(raw, family):
    found = endpoint(raw, family)
    assert (found is None) == (len(raw) < (16 if family == 2 else 24))
    if found is not None:
        assert found.port == int.from_bytes(raw[2:4], "big")


@given(st.text(max_size=30), st.sampled_from(("--connect", "--bind")))
def test_any_text_is_read_or_refused_in_one_way(text, option):
    try:
        found = grants([text], option, resolve=lambda _: ["192.0.2.1"])
    except UsageError:
        return
    assert found
    for grant in found:
        if grant.kind == "ip":
            assert str(grants([str(grant)], option)[0]) == str(grant)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("10.0.0.0/8", "10.0.0.0/8:*"),
        ("0.0.0.0/0:443", "0.0.0.0/0:443"),
        ("[::1]:80", "[::1]:80"),
        ("::1", "[::1]:*"),
        ("2001:db8::/32", "[2001:db8::/32]:*"),
        ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
        ("[2001:db8::]/32:443", "[2001:db8::/32]:443"),
        ("[fe80::1%7]:80-90", "[fe80::1%7]:80-90"),
        ("192.0.2.1:8000-8100", "192.0.2.1:8000-8100"),
        ("unix:/run/x", "unix:/run/x"),
        ("unix:@name", "unix:@name"),
    ],
)
def test_forms(text, shown):
    assert str(one(text)) == shown


@pytest.mark.parametrize("text", [":80", "8080", "*:80", "127.1:80", "0x7f000001:80", "192.0.2.1/24:80", "192.0.2.0/33", "192.0.2.1:65536", "192.0.2.1:9-8",
                                  "[192.0.2.1]:80", "[::1:80", "host", "ho st:80", "unix:", "unix:@", "unix:/run/", "192.0.2.1%1:80", "[fe80::1%nowhere]:80", ""])  # fmt: skip
def test_forms_that_are_refused(text):
    with pytest.raises(UsageError, match="--connect takes"):
        grants([text], "--connect", resolve=lambda _: ["192.0.2.1"])


def test_bind_takes_a_port_alone():
    for text in ("8080", ":8080"):
        grant = one(text, "--bind")
        assert str(grant) == "8080"
        assert grant.covers(Endpoint(4, 0, 8080))
        assert grant.covers(Endpoint(6, 1, 8080))
        assert not grant.covers(Endpoint(4, 0, 8081))


def test_a_name_stands_for_all_its_addresses():
    found = grants(["example.test:443"], "--connect", resolve=lambda name: ["192.0.2.1", "2001:db8::1", "192.0.2.1"])
    assert [str(grant) for grant in found] == ["192.0.2.1:443", "[2001:db8::1]:443"]

    def unknown(name):
        raise OSError("no such name")

    with pytest.raises(UsageError, match="cannot be resolved"):
        grants(["example.test:443"], "--connect", resolve=unknown)
