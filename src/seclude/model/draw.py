"""A model's state as a picture: tasks, the tree of filters with their counts, and what waits at the listeners. As text, or as SVG.

In the SVG the oldest filters are at the bottom, as the stem of the tree; an arrow leads from whoever refers to a filter to that filter.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from seclude.model.kernel import KernelModel

__all__ = ["FilterBox", "Picture", "TaskBox", "svg", "take", "text"]

_MODES = ("no seccomp", "strict mode", "filter mode", "dead")


class TaskBox(NamedTuple):
    """A task: ``filter`` is the number of its newest filter, 0 for none; ``holds`` the filters whose listener its process has open."""

    name: str
    tid: int
    mode: str
    filter: int
    holds: tuple[int, ...]
    waits: str


class FilterBox(NamedTuple):
    """A filter; ``waiting`` are the notifications at its listener as ``(id, state)``, None where it has no listener."""

    number: int
    refs: int
    users: int
    prev: int
    waiting: tuple[tuple[int, str], ...] | None


class Picture(NamedTuple):
    """The state at one moment, with a caption."""

    caption: str
    tasks: tuple[TaskBox, ...]
    filters: tuple[FilterBox, ...]


def take(kernel: KernelModel, caption: str) -> Picture:
    """The state of a model now. Ended processes that wait to be reaped are left out, as their filters are."""
    tasks = []
    for task in kernel.tasks:
        if task.exited:
            continue
        files = {file.filter.number for file, _ in task.process.files.table.values() if file.filter is not None}
        waits = ""
        if task.activity is not None and task.activity.waiting is not None:
            waits = getattr(task.activity.waiting, "why", "")
        newest = task.filter.number if task.filter is not None else 0
        tasks.append(TaskBox(task.comm, task.tid, _MODES[task.mode], newest, tuple(sorted(files)) if task.is_leader else (), waits))
    filters = [
        FilterBox(
            one.number, one.refs, one.users, one.prev.number if one.prev is not None else 0,
            None if one.notif is None else tuple((knotif.id, knotif.state) for knotif in one.notif.notifications),
        )
        for one in kernel.filters
    ]  # fmt: skip
    return Picture(caption, tuple(tasks), tuple(filters))


def text(pictures: Sequence[Picture]) -> str:
    """Every picture as a few lines."""
    out = []
    for number, picture in enumerate(pictures, 1):
        out.append(f"{number}. {picture.caption}")
        for task in picture.tasks:
            chain = " → ".join(map(str, _chain(picture, task.filter))) or "none"
            holds = f", holds the listener of filter {', '.join(map(str, task.holds))}" if task.holds else ""
            waits = f", waits for {task.waits}" if task.waits else ""
            out.append(f"     {task.name} ({task.tid}): filters {chain}{holds}{waits}")
        for one in picture.filters:
            below = f", on filter {one.prev}" if one.prev else ""
            listener = (
                "" if one.waiting is None else f", listener: {', '.join(f'{id} {state}' for id, state in one.waiting) or 'nothing waits'}"
            )
            out.append(f"     filter {one.number}: refs {one.refs}, users {one.users}{below}{listener}")
        out.append("")
    return "\n".join(out)


def _chain(picture: Picture, number: int) -> list[int]:
    below = {one.number: one.prev for one in picture.filters}
    out = []
    while number:
        out.append(number)
        number = below.get(number, 0)
    return out


# --- SVG

_BOX, _GAP, _ROW, _HIGH = 148, 18, 92, 52
_STYLE = """
text { font: 13px sans-serif; fill: #1b1f24; }
.caption { font-weight: bold; }
.small { font-size: 11px; fill: #57606a; }
.panel { fill: #ffffff; stroke: #d0d7de; }
.task { fill: #ddf4ff; stroke: #0969da; }
.filter { fill: #fff8c5; stroke: #9a6700; }
.arrow { fill: none; stroke: #57606a; stroke-width: 1.5; marker-end: url(#head); }
.holds { fill: none; stroke: #8250df; stroke-width: 1.5; stroke-dasharray: 5 4; marker-end: url(#open); }
.INIT { fill: #ffebe9; stroke: #cf222e; }
.SENT { fill: #dafbe1; stroke: #1a7f37; }
.REPLIED { fill: #eaeef2; stroke: #57606a; }
"""


def svg(pictures: Sequence[Picture]) -> str:
    """All pictures under one another, as one SVG document."""
    panels = []
    top = 8
    width = max(560, *(_width(picture) + 2 * _GAP for picture in pictures))
    for number, picture in enumerate(pictures, 1):
        drawn, height = _panel(picture, number, width)
        panels.append(f'<g transform="translate(8 {top})">{drawn}</g>')
        top += height + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 16}" height="{top}" viewBox="0 0 {width + 16} {top}">\n'
        f"<style>{_STYLE}</style>\n"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#57606a"/></marker>'
        '<marker id="open" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#8250df"/></marker></defs>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def _width(picture: Picture) -> int:
    return max(1, len(picture.tasks), *(1 for _ in picture.filters), _widest_row(picture)) * (_BOX + _GAP)


def _depths(picture: Picture) -> dict[int, int]:
    """How far each filter is from the bottom."""
    return {one.number: len(_chain(picture, one.number)) - 1 for one in picture.filters}


def _widest_row(picture: Picture) -> int:
    rows = list(_depths(picture).values())
    return max((rows.count(row) for row in rows), default=1)


def _panel(picture: Picture, number: int, width: int) -> tuple[str, int]:
    depths = _depths(picture)
    lines = _wrapped(f"{number}. {picture.caption}", width // 7)
    head = 14 + 18 * len(lines)
    rows = 1 + max(depths.values(), default=-1)
    height = head + 16 + _HIGH + rows * _ROW + (30 if any(one.waiting is not None for one in picture.filters) else 14)
    places: dict[int, tuple[float, float]] = {}
    out = [f'<rect class="panel" x="0" y="0" width="{width}" height="{height}" rx="6"/>']
    out += [f'<text class="caption" x="12" y="{22 + 18 * at}">{_escape(line)}</text>' for at, line in enumerate(lines)]
    task_y = head + 12
    task_x = {task.tid: _GAP + at * (_BOX + _GAP) for at, task in enumerate(picture.tasks)}
    # From the leaves down: a filter stands below the middle of what refers to it.
    taken: dict[int, list[float]] = {}
    for one in sorted(picture.filters, key=lambda one: -depths[one.number]):
        above = [places[other.number][0] for other in picture.filters if other.prev == one.number and other.number in places]
        above += [float(task_x[task.tid]) for task in picture.tasks if task.filter == one.number]
        above = above or [float(task_x[task.tid]) for task in picture.tasks if one.number in task.holds] or [float(_GAP)]
        x = sum(above) / len(above)
        row = taken.setdefault(depths[one.number], [])
        while any(abs(x - other) < _BOX + _GAP for other in row):
            x += (_BOX + _GAP) / 2
        row.append(x)
        places[one.number] = (x, task_y + _HIGH + (rows - depths[one.number]) * _ROW - _HIGH)
    for task in picture.tasks:
        x = task_x[task.tid]
        out.append(_box("task", x, task_y, f"{task.name} ({task.tid})", task.mode))
        if task.filter:
            fx, fy = places[task.filter]
            out.append(f'<path class="arrow" d="M{x + _BOX / 2:g} {task_y + _HIGH} L{fx + _BOX / 2 + _side(x, fx):g} {fy:g}"/>')
        for held in task.holds:
            if held in places:
                fx, fy = places[held]
                side, down = (14.0, 0) if fx == x else (-_BOX / 2 if fx > x else _BOX / 2, 14)
                out.append(f'<path class="holds" d="M{x + _BOX / 2 + 14:g} {task_y + _HIGH} L{fx + _BOX / 2 + side:g} {fy + down:g}"/>')
    for one in picture.filters:
        x, y = places[one.number]
        out.append(_box("filter", x, y, f"filter {one.number}", f"refs {one.refs} · users {one.users}"))
        if one.prev in places:
            px, py = places[one.prev]
            out.append(f'<path class="arrow" d="M{x + _BOX / 2:g} {y + _HIGH:g} L{px + _BOX / 2 + _side(x, px):g} {py:g}"/>')
        out += _waiting(one, x, y)
    return "".join(out), height


def _side(x: float, to: float) -> float:
    """Arrows from both sides arrive apart from each other."""
    return max(-60.0, min(60.0, (x - to) / 3))


def _waiting(one: FilterBox, x: float, y: float) -> Iterable[str]:
    if one.waiting is None:
        return
    if not one.waiting:
        yield f'<text class="small" x="{x + 6:g}" y="{y + _HIGH + 14:g}">listener: nothing waits</text>'
    for at, (number, state) in enumerate(one.waiting):
        left = x + at * 66
        yield f'<rect class="{state}" x="{left:g}" y="{y + _HIGH + 5:g}" width="62" height="20" rx="9"/>'
        yield f'<text class="small" x="{left + 31:g}" y="{y + _HIGH + 19:g}" text-anchor="middle">{number} {state}</text>'


def _box(kind: str, x: float, y: float, first: str, second: str) -> str:
    middle = x + _BOX / 2
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{_BOX}" height="{_HIGH}" rx="6"/>'
        f'<text x="{middle:g}" y="{y + 22:g}" text-anchor="middle">{_escape(first)}</text>'
        f'<text class="small" x="{middle:g}" y="{y + 40:g}" text-anchor="middle">{_escape(second)}</text>'
    )


def _wrapped(line: str, most: int) -> list[str]:
    out = [""]
    for word in line.split():
        if out[-1] and len(out[-1]) + 1 + len(word) > most:
            out.append("")
        out[-1] = f"{out[-1]} {word}" if out[-1] else word
    return out


def _escape(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
