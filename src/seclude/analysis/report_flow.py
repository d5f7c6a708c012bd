"""A program as a graph that fits a page: boxes of instructions, laid out in layers, with how many calls take each way.

Boxes are larger than the basic blocks of the textbook. A jump of which one side returns at once, and whose other side nothing else reaches, does not
end its box: the return is written behind the jump. So a chain of three hundred comparisons is a row of columns rather than a staircase, and arrows
are drawn only where a reader has to follow one. Returns are written where they are reached, in each box anew, never drawn as boxes of
their own with arrows from everywhere.

Layers go from left to right: a box stands one layer behind the last box that leads to it. Within the layers boxes are placed as a tidy tree: each
box belongs to one of those that lead to it, and families keep their order in every layer, so arrows of the tree do not cross. Arrows that are not
the tree's are drawn under the boxes.

Weights come from running the program on calls: for each call of the architectures' tables, one for each way that it can go. ``calls`` of an arrow is
how many take it; ``least`` and ``most`` of a box are how many instructions have been executed at its end, over those that come there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import log2
from typing import TYPE_CHECKING, NamedTuple

from seclude.analysis.meaning import action_meaning, remarks
from seclude.analysis.report_calls import kind_of_value
from seclude.bpf.disassembler import statements
from seclude.bpf.flow import CONDITIONAL
from seclude.bpf.names import action_text
from seclude.bpf.trace import trace
from seclude.decision.clauses import answers
from seclude.decision.nodes import END, boolean, budget
from seclude.decision.ops import map_leaves
from seclude.decision.witness import witness_of
from seclude.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seclude.abi import Architecture
    from seclude.bpf.program import Program
    from seclude.decision.value import Decision

__all__ = ["MOST_BOXES", "Arrow", "Box", "Exit", "Graph", "Row", "flow_graph"]

#: a drawing of more boxes than this helps nobody
MOST_BOXES = 700
#: rows of one box
_ROWS = 24
#: instructions that are executed at most to weigh the arrows
_STEPS = 400_000

# Measures of the drawing, in the units of its viewBox (pixels at full size).
_CHARACTER = 6.7
_LINE = 18
_PAD = 9
_HEAD = 20
_GAP_X = 92
_GAP_Y = 14
_LONGEST = 46
_REMARK = 32


class Exit(NamedTuple):
    """A return behind a row: ``when`` is "", "yes" or "no", ``answer`` the action, and how many calls end here."""

    when: str
    answer: str
    means: str
    kind: str
    calls: int


class Row(NamedTuple):
    """One instruction of a box: its index, its words, what it is about, and the returns behind it."""

    pc: int
    text: str
    remark: str
    exits: tuple[Exit, ...]

    @property
    def shown(self) -> str:
        return self.text if len(self.text) <= _LONGEST else self.text[: _LONGEST - 1] + "…"

    @property
    def noted(self) -> bool:
        """Whether there is room for the remark beside the words; otherwise it is shown on pointing."""
        return 0 < len(self.remark) <= _REMARK

    @property
    def width(self) -> float:
        exits = sum(len(one.answer) + len(one.when) + len(str(one.calls)) + 6 for one in self.exits)
        return (3 + len(self.shown) + (len(self.remark) + 2 if self.noted else 0) + exits) * _CHARACTER


@dataclass(slots=True)
class Arrow:
    """From a box to another. ``path`` is the SVG path, ``x``, ``y`` where its label stands, ``width`` its stroke's."""

    source: int
    target: int
    when: str
    calls: int
    path: str = ""
    x: float = 0
    y: float = 0
    anchor: str = "start"

    @property
    def width(self) -> float:
        return round(1 + log2(1 + self.calls) / 3, 1)


@dataclass(slots=True)
class Box:
    """Instructions that are drawn together, named by the first one."""

    start: int
    rows: list[Row] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    calls: int = 0
    least: int = 0
    most: int = 0
    layer: int = 0
    x: float = 0
    y: float = 0
    width: float = 0

    @property
    def height(self) -> float:
        return _HEAD + _LINE * len(self.rows) + _PAD

    @property
    def cost(self) -> str:
        """Executed instructions at its end."""
        return str(self.most) if self.least == self.most else f"{self.least}-{self.most}"

    def baseline(self, index: int) -> float:
        """Where the row's text stands."""
        return self.y + _HEAD + _LINE * index + 13


@dataclass(frozen=True, slots=True)
class Graph:
    """The drawing: boxes in the order of their instructions, its size, and how many calls its weights come from, of how many."""

    boxes: tuple[Box, ...]
    width: int
    height: int
    sampled: int
    samples: int

    @property
    def arrows(self) -> list[Arrow]:
        return [arrow for box in self.boxes for arrow in box.arrows]


class _Counts:
    """What the runs on sample calls showed."""

    def __init__(self, program: Program, samples: list[tuple[int, ...]]) -> None:
        self.edges: Counter[tuple[int, int]] = Counter()
        self.visits: Counter[int] = Counter()
        self.least: dict[int, int] = {}
        self.most: dict[int, int] = {}
        self.sampled = 0
        left = _STEPS
        for words in samples:
            if left <= 0:
                break
            for count, step in enumerate(trace(program, words), 1):
                left -= 1
                self.visits[step.pc] += 1
                self.least[step.pc] = min(count, self.least.get(step.pc, count))
                self.most[step.pc] = max(count, self.most.get(step.pc, 0))
                if step.next is not None:
                    self.edges[step.pc, step.next] += 1
            self.sampled += 1


def _samples(decision: Decision, archs: Iterable[Architecture]) -> Iterator[tuple[int, ...]]:
    for arch in archs:
        for number in arch.calls().values():
            node = decision.of_call(arch.token, number)
            if node.level == END:
                yield (number, arch.token, *(0,) * 14)
                continue
            for value in answers(node):
                try:
                    with budget("a sample call"):
                        region = map_leaves(node, lambda one, value=value: boolean(one.value == value))  # type: ignore[misc]
                except BudgetError:
                    continue
                yield witness_of(region, arch.token, number).words


def flow_graph(program: Program, decision: Decision, archs: Iterable[Architecture]) -> Graph | None:
    """The drawing of a program that means ``decision``, or None where it has more than `MOST_BOXES` boxes. ``archs``: whose calls are run."""
    archs = list(archs)
    samples = list(_samples(decision, archs))
    counts = _Counts(program, samples)
    boxes = _boxes(program, counts, archs[0] if len(archs) == 1 else None)
    if len(boxes) > MOST_BOXES:
        return None
    width, height = _place(boxes)
    return Graph(tuple(boxes), round(width), round(height), counts.sampled, len(samples))


# ── boxes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _targets(pc: int, code: int, jt: int, jf: int, k: int) -> tuple[int, ...]:
    if code & 0x07 == 0x06:
        return ()
    if code in CONDITIONAL:
        return (pc + 1 + jt,) if jt == jf else (pc + 1 + jt, pc + 1 + jf)
    return (pc + 1 + k,) if code == 0x05 else (pc + 1,)


def _boxes(program: Program, counts: _Counts, home: Architecture | None) -> list[Box]:
    texts = [text for text, _ in statements(program, home, "{:04d}".format)]
    notes = list(remarks(program, home))
    entries: Counter[int] = Counter()
    reached = {0}
    for pc, instruction in enumerate(program):
        if pc in reached:
            for target in _targets(pc, *instruction):
                reached.add(target)
                entries[target] += 1
    boxes: list[Box] = []
    todo = [0]
    known = {0}
    while todo:
        box = _box(todo.pop(), program, counts, texts, notes, entries)
        boxes.append(box)
        for arrow in box.arrows:
            if arrow.target not in known:
                known.add(arrow.target)
                todo.append(arrow.target)
    return sorted(boxes, key=lambda box: box.start)


def _box(start: int, program: Program, counts: _Counts, texts: list[str], notes: list[str], entries: Counter[int]) -> Box:
    box = Box(start, calls=counts.visits[start])
    pc = start
    while True:
        code, jt, jf, k = program[pc]
        box.least, box.most = counts.least.get(pc, 0), counts.most.get(pc, 0)
        if code & 0x07 == 0x06:
            box.rows.append(Row(pc, "return", "", (_exit("", pc, pc, program, counts, notes),)))
            return box
        targets = _targets(pc, code, jt, jf, k)
        if len(targets) == 1:
            box.rows.append(Row(pc, texts[pc], notes[pc], ()))
            onward: tuple[int, ...] = targets
        else:
            holds, fails = targets
            text = texts[pc]
            if text.startswith("if ("):
                text = text[len("if (") : text.index(") goto")]
                if jt == 0:  # the disassembler's words are those of the opposite test
                    holds, fails = fails, holds
            exits = tuple(
                _exit(when, pc, target, program, counts, notes)
                for when, target in (("yes", holds), ("no", fails))
                if program[target][0] & 0x07 == 0x06
            )
            box.rows.append(Row(pc, f"{text}?", notes[pc], exits))
            onward = tuple(target for target in (holds, fails) if program[target][0] & 0x07 != 0x06)
            if len(onward) == 2:
                box.arrows = [Arrow(start, target, when, counts.edges[pc, target]) for when, target in (("yes", holds), ("no", fails))]
                return box
        if not onward:
            return box
        (following,) = onward
        if program[following][0] & 0x07 != 0x06 and (entries[following] > 1 or len(box.rows) >= _ROWS):
            when = "" if len(targets) == 1 else "yes" if following == holds else "no"
            box.arrows = [Arrow(start, following, when, counts.edges[pc, following])]
            return box
        pc = following


def _exit(when: str, pc: int, target: int, program: Program, counts: _Counts, notes: list[str]) -> Exit:
    code, _, _, k = program[target]
    calls = counts.visits[target] if pc == target else counts.edges[pc, target]
    if code & 0x10:
        return Exit(when, "A", "the value of A is the answer", "asked", calls)
    return Exit(when, action_text(k, None), notes[target] or action_meaning(k), kind_of_value(k), calls)


# ── places ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _place(boxes: list[Box]) -> tuple[float, float]:
    """Give every box and arrow its place; the size of the whole."""
    by_start = {box.start: box for box in boxes}
    parents: dict[int, Box] = {}
    for box in boxes:  # jumps only go forward, so parents come first
        for arrow in box.arrows:
            target = by_start[arrow.target]
            if box.layer + 1 > target.layer:
                target.layer = box.layer + 1
                parents[target.start] = box
    children: dict[int, list[Box]] = {}
    for start, parent in parents.items():
        children.setdefault(parent.start, []).append(by_start[start])
    for box in boxes:
        box.width = max(150, 2 * _PAD + max(row.width for row in box.rows), (len(_title(box)) + 4) * _CHARACTER)
    height = _tidy(boxes, children)
    columns = [max(box.width for box in boxes if box.layer == layer) for layer in range(max(box.layer for box in boxes) + 1)]
    lefts = [_PAD + sum(columns[:layer]) + _GAP_X * layer for layer in range(len(columns))]
    for box in boxes:
        box.x = lefts[box.layer]
    for box in boxes:
        _draw_arrows(box, lefts[box.layer] + columns[box.layer], by_start, parents)
    return lefts[-1] + columns[-1] + _PAD, height


def _title(box: Box) -> str:
    return f"{box.start:04d}  {box.calls} calls, {box.cost} steps"


def _tidy(boxes: list[Box], children: dict[int, list[Box]]) -> float:
    """Vertical places. Families keep their order in every layer, so the tree's arrows never cross; each box stands as high as its layer is free,
    yet no higher than the box it belongs to.
    """
    free: dict[int, float] = {}
    layer = [boxes[0]]
    boxes[0].y = _PAD
    bottom = 0.0
    while layer:
        bottom = max(bottom, layer[-1].y + layer[-1].height)
        following = []
        for box in layer:
            for child in children.get(box.start, ()):
                child.y = max(free.get(child.layer, 0), box.y)
                free[child.layer] = child.y + child.height + _GAP_Y
                following.append(child)
        layer = following
    return bottom + _PAD


def _draw_arrows(box: Box, edge: float, by_start: dict[int, Box], parents: dict[int, Box]) -> None:
    x = box.x + box.width
    last = box.baseline(len(box.rows) - 1) - 4
    for index, arrow in enumerate(box.arrows):
        target = by_start[arrow.target]
        y = last if len(box.arrows) == 1 else last - 5 + 10 * index
        end_x, end_y = target.x - 5, target.y + _HEAD / 2 + 1
        bend = min(_GAP_X * 0.6, (end_x - edge) / 2)
        # Straight on to the layer's edge, lest it crosses a wider box of the same layer; then the bend.
        arrow.path = f"M{x:.0f} {y:.0f}H{edge:.0f}C{edge + bend:.0f} {y:.0f} {end_x - bend:.0f} {end_y:.0f} {end_x:.0f} {end_y:.0f}"
        if parents.get(target.start) is box:
            # Only one arrow of the tree ends here: its label stands at the end, on the side that the arrow does not come from.
            arrow.x, arrow.y, arrow.anchor = end_x - 8, end_y + 12 if y < end_y else end_y - 5, "end"
        else:
            arrow.x, arrow.y = x + 5, y - 5 if index == 0 else y + 12
