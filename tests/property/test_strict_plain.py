"""The plain format: what is written is read back, and no bytes at all make the reader do anything but answer or refuse."""

import contextlib
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seclude.sandbox.plain import DEPTH, PlainError, decode, encode

LIMIT = 1 << 20

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False) | st.text() | st.binary()
)
KEYS = st.recursive(LEAVES, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
VALUES = st.recursive(
    LEAVES | st.binary().map(bytearray) | st.characters(codec=None).map(str),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=30,
)


def kinds(value):
    """The value with its types spelled out: 1 == True == 1.0, and sets have no order."""
    if isinstance(value, dict):
        return ("dict", {repr(kinds(key)): kinds(item) for key, item in value.items()})
    if isinstance(value, (set, frozenset)):
        return (type(value).__name__, sorted(repr(kinds(item)) for item in value))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [kinds(item) for item in value])
    return (type(value).__name__, repr(value))


@given(VALUES)
def test_what_is_written_is_read_back(value):
    raw = encode(value, LIMIT)
    assert kinds(decode(raw, LIMIT)) == kinds(value)


@given(VALUES, st.integers(0, 3000))
def test_writer_and_reader_agree_on_the_limit(value, limit):
    raw = encode(value, LIMIT)
    try:
        encode(value, limit)
    except PlainError:
        with pytest.raises(PlainError):
            decode(raw, limit)
    else:
        decode(raw, limit)
    assert len(raw) <= LIMIT


TAGS = b"NTFIDCSBYLUEZM"


@given(st.binary(max_size=200) | st.lists(st.sampled_from([*TAGS, 0, 1, 2, 3, 127, 128, 255]), max_size=60).map(bytes))
@example(b"M\x01L\x00N")
@example(b"I\x00")
@example(b"S\x02\xff\xff")
@example(b"L\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"L\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
@example(b"E\x02NN")
@example(b"NN")
@example(b"")
def test_hostile_bytes_are_refused_or_read(raw):
    try:
        value = decode(raw, LIMIT)
    except PlainError:
        return
    # What was read can be written: nothing outside the format comes out. (Sizes may have been written longer than needed.)
    assert kinds(decode(encode(value, LIMIT), LIMIT)) == kinds(value)


@given(VALUES, st.data())
def test_damaged_bytes_are_refused_or_read(value, data):
    raw = encode(value, LIMIT)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(PlainError):
        decode(raw, LIMIT)


@given(VALUES)
def test_every_prefix_is_refused(value):
    raw = bytes(encode(value, LIMIT))
    for end in {0, len(raw) // 2, len(raw) - 1}:
        with pytest.raises(PlainError):
            decode(raw[:end], LIMIT)


def nested(depth):
    value: object = None
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded_in_both_directions():
    assert decode(encode(nested(DEPTH), LIMIT), LIMIT) == nested(DEPTH)
    with pytest.raises(PlainError, match="nested deeper"):
        encode(nested(DEPTH + 1), LIMIT)
    with pytest.raises(PlainError, match="nested deeper"):
        decode(b"L\x01" * 100_000 + b"N", 1 << 30)


def test_small_bytes_cannot_become_a_large_value():
    with pytest.raises(PlainError, match="takes more than"):
        decode(b"L\xff\x7f" + b"L\x00" * 16383, 1 << 20)


def test_keys_that_collide_are_refused():
    prime = (1 << 61) - 1  # sys.hash_info.modulus: every multiple hashes to 0
    keys = [number * prime for number in range(4096)]
    raw = encode(dict.fromkeys(keys), LIMIT)
    with pytest.raises(PlainError, match="collide"):
        decode(raw, LIMIT)


def test_the_same_key_twice_is_refused():
    with pytest.raises(PlainError, match="same key twice"):
        decode(b"M\x02I\x01\x01NI\x01\x01N", LIMIT)


def test_nan_is_carried():
    assert math.isnan(decode(encode(math.nan, LIMIT), LIMIT))


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "the value is a builtins.object"),
        ([1, {"a": [Name("x")]}], r"the value\[1\]\['a'\]\[0\] is a .*Name"),
        ({(1, Name("x")): 2}, r"the value key\[1\] is a .*Name"),
        ({Name("k"): 1}, r"the value key is a .*Name"),
        ({1, len}, r"the value\{\.\.\.\} is a builtins.builtin"),
        ({"k" * 300: len}, r"the value\[\.\.\.\] is a builtins.builtin"),
    ],
)
def test_what_cannot_be_carried_is_said_with_its_place(value, said):
    with pytest.raises(PlainError, match=said):
        encode(value, LIMIT)
