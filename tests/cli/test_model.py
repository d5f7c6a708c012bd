"""``seclude model``: the gallery drawn as text and as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from seclude.cli.main import main
from seclude.model.gallery import GALLERY, pictures

SVG = "{http://www.w3.org/2000/svg}"


def run(capsys, *words):
    code = main(["model", *map(str, words)])
    done = capsys.readouterr()
    return code, done.out, done.err


def test_the_list(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(GALLERY)


@pytest.mark.parametrize("name", GALLERY)
def test_every_scenario_as_text_and_as_svg(capsys, name):
    code, out, _ = run(capsys, "--draw", name)
    assert code == 0
    captions = [picture.caption for picture in pictures(name)]
    assert [line for line in out.splitlines() if line[:1].isdigit()] == [f"{n}. {caption}" for n, caption in enumerate(captions, 1)]
    code, out, _ = run(capsys, "--draw", name, "--format", "svg")
    assert code == 0
    root = ET.fromstring(out)
    boxes = list(root.iter(f"{SVG}rect"))
    assert sum(box.get("class") == "panel" for box in boxes) == len(captions)
    assert sum(box.get("class") == "filter" for box in boxes) == sum(len(picture.filters) for picture in pictures(name))
    inside(root)


def inside(root):
    """Nothing is drawn outside of its panel, and no two boxes of a panel overlap."""
    for group in root.iter(f"{SVG}g"):
        panel, *boxes = [tuple(float(box.get(side)) for side in ("x", "y", "width", "height")) for box in group.iter(f"{SVG}rect")]
        for n, (x, y, width, height) in enumerate(boxes):
            assert x >= 0
            assert x + width <= panel[2]
            assert y + height <= panel[3]
            for other in boxes[n + 1 :]:
                apart = x + width <= other[0] or other[0] + other[2] <= x or y + height <= other[1] or other[1] + other[3] <= y
                assert apart, "two boxes overlap"


def test_a_file(capsys, tmp_path):
    target = tmp_path / "tree.svg"
    assert run(capsys, "-d", "tree", "-f", "svg", "-o", target)[:2] == (0, "")
    assert target.read_text().startswith("<svg")
    assert run(capsys, "-d", "tree", "-o", target)[:2] == (0, "")
    assert target.read_text().startswith("<svg"), "the file's name says what it is"
    assert run(capsys, "-d", "tree", "-f", "text", "-o", target)[:2] == (0, "")
    assert target.read_text().startswith("1. ")


def test_a_kernel_without_what_is_drawn(capsys):
    code, out, err = run(capsys, "-d", "descriptor", "-k", "5.13")
    assert (code, out) == (125, "")
    assert "Linux 5.14" in err
    assert run(capsys, "-d", "descriptor", "-k", "5.14")[0] == 0
    for name in ("tree", "tsync", "notify", "interrupted"):
        assert run(capsys, "-d", name, "-k", "5.0")[0] == 0


def test_functions(capsys):
    code, out, _ = run(capsys, "--functions")
    assert code == 0
    assert "__seccomp_filter " in out


@pytest.mark.parametrize(("words", "message"), [(("-d", "tre"), "did you mean 'tree'"), (("tree",), "unexpected 'tree'")])
def test_faults(capsys, words, message):
    code, _, err = run(capsys, *words)
    assert code == 125
    assert message in err
