"""Random programs, policies and calls for the tests of decisions and of the compiler."""

import random

from seclude.policy.lowered import All, Any, Clause, Field, Lowered, LoweredCall, LoweredToken, Negation, Test

X86_64, I386, ARM = 0xC000003E, 0x40000003, 0x40000028
ALLOW, KILL, ERRNO1, LOG, TRAP = 0x7FFF0000, 0x80000000, 0x00050001, 0x7FFC0000, 0x00030007
INTERESTING = (
    0,
    1,
    2,
    3,
    5,
    31,
    32,
    63,
    64,
    255,
    256,
    0x7FFF,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
    X86_64,
    I386,
)
JUMPS = (0x15, 0x25, 0x35, 0x45)
OPERATIONS = (0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xA4)


def random_program(rnd: random.Random, size: int, words=16, heavy=True):
    """A program that the kernel would accept: forward jumps, scratch words written before any is read, RET at the end."""
    out = [(0x00, 0, 0, rnd.choice(INTERESTING))]
    slots = rnd.sample(range(16), rnd.randrange(4))
    out += [(0x02, 0, 0, slot) for slot in slots]
    while len(out) < size - 1:
        left = size - len(out) - 1
        k = rnd.choice(INTERESTING)
        kind = rnd.random()
        if kind < 0.35 and left > 1:
            code = rnd.choice(JUMPS) | (8 if heavy and rnd.random() < 0.15 else 0)
            out.append((code, rnd.randrange(min(left, 12)), rnd.randrange(min(left, 12)), 0 if code & 8 else k))
        elif kind < 0.38 and left > 1:
            out.append((0x05, 0, 0, rnd.randrange(min(left, 5))))
        elif kind < 0.62:
            out.append((0x20, 0, 0, 4 * rnd.randrange(words)))
        elif kind < 0.66:
            out.append(rnd.choice([(0x00, 0, 0, k), (0x01, 0, 0, k), (0x80, 0, 0, 0), (0x81, 0, 0, 0)]))
        elif kind < 0.74 and slots:
            out.append((rnd.choice((0x02, 0x03, 0x60, 0x61)), 0, 0, rnd.choice(slots)))
        elif kind < 0.80:
            out.append(rnd.choice([(0x07, 0, 0, 0), (0x87, 0, 0, 0)]))
        elif kind < 0.92:
            out.append(_arithmetic(rnd, k, heavy))
        else:
            out.append(_end(rnd))
    return [*out, _end(rnd)]


def _arithmetic(rnd, k, heavy):
    code = rnd.choice((0x54, 0x44, 0xA4, 0x04, 0x14, 0x64, 0x74)) if rnd.random() < 0.9 or not heavy else rnd.choice((0x24, 0x34, 0x84))
    if code == 0x84:
        return (0x84, 0, 0, 0)
    if heavy and rnd.random() < 0.1:
        return (code | 8, 0, 0, 0)
    if code in (0x64, 0x74):
        k %= 32
    if code in (0x24, 0x34):
        k = rnd.choice((2, 3, 4, 10))
    return (code, 0, 0, k)


def _end(rnd):
    return (0x06, 0, 0, rnd.choice((ALLOW, KILL, ERRNO1, LOG, 0, 0x30001, 0x7FF00009, 0x7FC00000, 0x0005FFFF, 0x12340000)))


def random_words(rnd: random.Random, values=INTERESTING):
    """Sixteen words: mostly boundary values."""
    words = [
        (rnd.choice(values) + rnd.choice((0, 0, 1, -1))) & 0xFFFFFFFF if rnd.random() < 0.8 else rnd.getrandbits(32) for _ in range(16)
    ]
    if rnd.random() < 0.7:
        words[1] = rnd.choice((X86_64, I386, ARM))
    if rnd.random() < 0.7:
        words[0] = rnd.randrange(40)
    return tuple(words)


def constants(instructions):
    """The values that a program compares with, and their neighbours."""
    return sorted({k for code, _, _, k in instructions if code & 7 in (4, 5)} | set(INTERESTING))


# ── lowered policies ────────────────────────────────────────────────────────────────────────────────────────────────

FIELDS = (
    Field(((4, 32),)),
    Field(((6, 32),)),
    Field(((6, 16),)),
    Field(((4, 32), (5, 32))),
    Field(((6, 32), (7, 32))),
    Field(((8, 32), (10, 32))),
    Field(((10, 32), (8, 32))),
    Field(((2, 32), (3, 32))),
)


def random_test(rnd: random.Random, fields=FIELDS):
    field = rnd.choice(fields)
    top = (1 << field.width) - 1
    mask = rnd.choice((top, top, top, 0xFF & top, 0x10000001 & top, 0x7E020000 & top, 1, 0xFFFFFFFF & top, rnd.getrandbits(field.width)))
    points = sorted({rnd.choice((*INTERESTING, top, top >> 1, rnd.getrandbits(field.width))) & top for _ in range(2 * rnd.randrange(1, 4))})
    ranges: list[tuple[int, int]] = []
    while points:
        low = points.pop(0)
        high = points.pop(0) if points and rnd.random() < 0.5 else low
        if not ranges or low > ranges[-1][1] + 1:
            ranges.append((low, high))
    return Test(field, mask, tuple(ranges))


def random_predicate(rnd: random.Random, depth=2, fields=FIELDS):
    kind = rnd.random()
    if depth == 0 or kind < 0.45:
        return random_test(rnd, fields)
    if kind < 0.55:
        return Negation(random_predicate(rnd, depth - 1, fields))
    parts = tuple(random_predicate(rnd, depth - 1, fields) for _ in range(rnd.randrange(4)))
    return All(parts) if kind < 0.8 else Any(parts)


def random_lowered(rnd: random.Random, tokens=(X86_64,), calls=30, byteorder="little", filtered=0.3):
    values = (ALLOW, ERRNO1, KILL, LOG, TRAP, 0x00050026, 0x7FC00000)
    out = []
    for token in tokens:
        table = {}
        for number in rnd.sample(range(400), calls):
            clauses: list[Clause] = []
            while rnd.random() < filtered and len(clauses) < 4:
                clauses.append(Clause(random_predicate(rnd), rnd.choice(values), len(clauses), True, "x", None))
            table[number] = LoweredCall(f"call{number}", tuple(clauses), rnd.choice((ALLOW, ALLOW, ERRNO1, KILL)))
        others = (
            (0, 0x3FFFFFFF, rnd.choice((ERRNO1, KILL))),
            (0x40000000, 0x7FFFFFFF, KILL),
            (0x80000000, 0xFFFFFFFF, rnd.choice((KILL, ERRNO1))),
        )
        out.append(LoweredToken(token, "x", table, others))
    return Lowered(byteorder, tuple(out), KILL)


def holds(predicate, words):
    """Whether a predicate holds, straight from its definition."""
    match predicate:
        case Test(field, mask, ranges):
            value, shift = 0, 0
            for word, bits in field.parts:
                value |= (words[word] & ((1 << bits) - 1)) << shift
                shift += bits
            value &= mask
            return any(low <= value <= high for low, high in ranges)
        case Negation(part):
            return not holds(part, words)
        case All(parts):
            return all(holds(part, words) for part in parts)
        case Any(parts):
            return any(holds(part, words) for part in parts)


def outcome(low: Lowered, words):
    """The RET word of a lowered policy, straight from its definition."""
    for token in low.tokens:
        if token.token == words[1]:
            call = token.calls.get(words[0])
            if call is None:
                return next(value for first, last, value in token.others if first <= words[0] <= last)
            return next((clause.value for clause in call.clauses if holds(clause.condition, words)), call.otherwise)
    return low.badarch


def boundary_values(low: Lowered):
    """32-bit values around everything that a policy compares with."""
    found = set(INTERESTING)

    def walk(predicate):
        match predicate:
            case Test(_, mask, ranges):
                for edge in (mask, *(edge for pair in ranges for edge in pair)):
                    found.update((edge & 0xFFFFFFFF, edge >> 32))
            case Negation(part):
                walk(part)
            case All(parts) | Any(parts):
                for part in parts:
                    walk(part)

    for token in low.tokens:
        for call in token.calls.values():
            for clause in call.clauses:
                walk(clause.condition)
    return sorted(found)
