"""The page of ``seclude report`` in a real Chromium: it searches, compares, can be steered by keyboard, can be read, and asks nothing of anybody."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from browser_support import open_page
from report_support import docker_profile
from seclude import formats
from seclude.analysis.report import Input, report
from seclude.bpf import assemble
from seclude.decision import from_policy, from_program
from seclude.policy import load, parse
from support import once

pytestmark = [pytest.mark.live, pytest.mark.slow]

HOSTILE = "</script><img src=http://127.0.0.1:9/x onerror=document.title='owned'>\"'><svg onload=alert(1)>"
EVERY_KIND = """default errno(EPERM)
arch x86_64
allow read, mount, socket(domain == AF_UNIX), ioctl(request == TCGETS)
notify connect, ptrace
kill reboot
"""


def preset(name):
    policy = load(name, native="x86_64")
    return Input(name, from_policy(policy), "preset", policy)


def written(text, name):
    policy = parse(text, name, native="x86_64")
    return Input(name, from_policy(policy), "policy", policy)


@pytest.fixture(scope="module")
def files():
    """Made once in a run of the tests, whichever process of it asks first."""
    return once("report-pages", write_pages)


def write_pages(place):
    profile = formats.read(docker_profile(), "docker.json")
    docker = Input("docker.json", profile.decision, "OCI seccomp profile", byteorder=profile.byteorder)
    program = assemble("A = sys_number\nif (A == 0) goto ok\nreturn ERRNO(EPERM)\nok:\nreturn ALLOW")
    place.mkdir()
    pages = {
        "one": [preset("container")],
        "two": [preset("container"), docker],
        "kinds": [written(EVERY_KIND, "kinds.seclude")],
        "hostile": [
            written(f"{EVERY_KIND}# {HOSTILE}\n", HOSTILE.replace("/", "|")),
            Input(HOSTILE, from_program(program), HOSTILE, None, (program,)),
        ],
    }
    for name, inputs in pages.items():
        (place / f"{name}.html").write_text(report(inputs), encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    with open_page() as page:
        yield page


@pytest.fixture
def opened(browser, files):
    """Opens one of the pages; at the end nothing may have been complained of, and nothing but the page been asked for."""
    seen = []

    def opener(name, scheme="light", width=1400):
        del browser.events[:]
        browser.size(width)
        browser.scheme(scheme)
        browser.open(files / f"{name}.html")
        seen.append((files / f"{name}.html").as_uri())
        return browser

    yield opener
    assert browser.complaints() == []
    assert browser.requests() == seen[-1:]


def shown(page, arch="x86_64"):
    """The cells that can be seen."""
    return page.ask(f"[...document.querySelectorAll('#p-{arch} .c')].filter(c => c.checkVisibility()).map(c => c.id.split('-')[2])")


def search(page, text):
    page.ask("document.activeElement.blur()")
    page.press("/")
    assert page.ask("document.activeElement.id") == "q"
    page.type(text)


def test_search_filters_cells_and_clauses_together(opened):
    page = opened("one")
    everything = shown(page)
    search(page, "mkno")
    assert shown(page) == ["mknod", "mknodat"]
    assert page.ask("document.querySelector('#found').textContent") == f"2 of {len(everything)} calls"
    rows = page.ask(
        "[...document.querySelectorAll('#p-x86_64 .clauses:not(.rest) tbody tr')].filter(r => r.checkVisibility()).map(r => r.id)"
    )
    assert sorted(rows) == ["r-x86_64-mknod", "r-x86_64-mknodat"]
    page.press("Escape")
    assert shown(page) == everything
    assert page.ask("document.querySelector('#found').textContent") == ""
    assert page.ask("[...document.querySelectorAll('#p-x86_64 details.plain')].every(d => !d.open)")


def test_search_looks_at_numbers_families_conditions_and_what_happens(opened):
    page = opened("one")
    for text, some in (
        ("af_unix", {"socket", "socketpair"}),
        ("swap", {"swapon", "swapoff", "reboot"}),
        ("conditions mkn", {"mknodat"}),
        ("tiocsti", {"ioctl"}),
    ):
        search(page, text)
        assert some <= set(shown(page)), text
        page.press("Escape")
    search(page, "nothing like it")
    assert shown(page) == []
    assert page.ask("document.querySelectorAll('#p-x86_64 .tier:not([hidden])').length") == 0


def test_kinds_are_chosen_by_buttons(opened):
    page = opened("kinds")
    page.click('.key[data-k="asked"]')
    assert shown(page) == ["ptrace", "connect"]
    assert page.ask("document.querySelector('.key[data-k=asked]').getAttribute('aria-pressed')") == "true"
    page.click('.key[data-k="killed"]')
    assert set(shown(page)) == {"ptrace", "connect", "reboot"}
    page.click('.key[data-k="asked"]')
    page.click('.key[data-k="killed"]')
    assert len(shown(page)) > 300


def test_keyboard_reaches_every_cell(opened):
    page = opened("one")
    page.ask("document.querySelector('[role=tab]').focus()")
    page.press("Tab")
    active = "document.activeElement.id"
    first = page.ask(active)
    assert first == page.ask("document.querySelector('#p-x86_64 .c').id")
    assert page.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    number = page.ask("document.querySelectorAll('#p-x86_64 .c').length")
    visited = {first}
    for _ in range(number - 1):
        page.press("ArrowRight")
        visited.add(page.ask(active))
    assert len(visited) == number
    page.press("ArrowRight")
    assert page.ask(active) in visited
    page.press("Home")
    assert page.ask(active) == first
    page.press("ArrowDown")
    below = page.ask(active)
    assert below != first
    page.press("ArrowUp")
    assert page.ask(active) == first
    # One stop of the Tab key for all cells: it leads on to what follows them.
    page.press("Tab")
    assert page.ask("document.activeElement.closest('.tiers')") is None


def test_focus_shows_what_happens_and_enter_leads_to_the_clause(opened):
    page = opened("one")
    page.ask("document.querySelector('#c-x86_64-socket').focus()")
    told = page.ask("document.querySelector('#p-x86_64 .inspector').textContent")
    assert "domain == AF_UNIX" in told
    assert "the call fails with EPERM" in told
    assert page.ask("document.querySelector('#p-x86_64 .inspector').getAttribute('aria-live')") == "polite"
    page.press("Enter")
    assert page.ask("document.activeElement.id") == "r-x86_64-socket"
    page.ask("document.querySelector('#c-x86_64-read').focus()")
    assert page.ask("document.querySelector('#r-x86_64-read').checkVisibility()") is False
    page.press("Enter")
    assert page.ask("document.activeElement.id") == "r-x86_64-read"
    assert page.ask("document.querySelector('#r-x86_64-read').checkVisibility()") is True


def test_pointing_shows_what_happens(opened):
    page = opened("one")
    page.click("#c-x86_64-mount")
    assert page.ask("document.querySelector('#p-x86_64 .inspector h4').textContent") == "mount"


def test_architectures_are_tabs(opened):
    page = opened("one")
    assert page.ask("document.querySelector('#p-x86').checkVisibility()") is False
    page.ask("document.querySelector('#t-x86_64').focus()")
    page.press("ArrowRight")
    assert page.ask("document.activeElement.id") == "t-x86"
    assert page.ask("document.querySelector('#p-x86').checkVisibility()") is True
    assert page.ask("document.querySelector('#p-x86_64').checkVisibility()") is False
    assert "socketcall" in shown(page, "x86")


def test_two_filters_side_by_side(opened):
    page = opened("two")
    assert "B lets more through" in page.ask("document.querySelector('.verdict').textContent")
    page.click('.key[data-k="d"]')
    cells = shown(page)
    assert {"ptrace", "socket", "chroot"} <= set(cells)
    assert "read" not in cells
    assert page.ask("[...document.querySelectorAll('#p-x86_64 .c.d')].every(c => c.querySelectorAll('i').length === 2)")
    page.ask("document.querySelector('#c-x86_64-ptrace').focus()")
    told = page.ask("document.querySelector('#p-x86_64 .inspector').innerText")
    assert told.index("ERRNO(EPERM)") < told.index("ALLOW")
    rows = page.ask("[...document.querySelectorAll('.changes tbody tr')].map(r => [...r.cells].map(c => c.innerText))")
    assert any("x86_64: socket(" in witness for *_, witness in rows)
    page.ask("document.querySelector('#c-x86_64-read').focus()")
    assert all(a.strip() and b.strip() for _, a, b, _ in rows)


def test_hostile_names_do_nothing(opened):
    page = opened("hostile")
    assert HOSTILE in page.ask("document.title")
    assert page.ask("document.images.length + document.scripts.length") == 1
    assert page.ask("document.querySelectorAll('[onload], [onerror]').length") == 0


def test_a_script_that_got_in_would_not_run_and_could_not_ask(browser, files):
    # The policy of the page itself, tried: this is what the header promises.
    browser.open(files / "one.html")
    made = (
        "(() => { const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s);"
        " const i = new Image(); return new Promise(done => { i.onerror = () => done([window.owned ?? null, 'refused']);"
        " i.onload = () => done(['loaded']); i.src = 'http://127.0.0.1:9/x.png'; }); })()"
    )
    assert browser.ask(made) == [None, "refused"]
    assert browser.ask("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    refusals = [text for text in browser.complaints() if "Content Security Policy" in text]
    assert len(refusals) >= 3


CONTRAST = """
(() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = c => { const f = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]); };
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; }
    return [255, 255, 255, 1]; };
  for (const d of document.querySelectorAll('details')) d.open = true;
  const poor = []; let seen = 0;
  for (const e of document.querySelectorAll('body *')) {
    const svg = e instanceof SVGElement;
    if ((svg && !e.closest('text')) || !e.checkVisibility()) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    seen++;
    const style = getComputedStyle(e);
    const ink = parse(svg ? style.fill : style.color);
    const box = svg && e.closest('.box');
    const ground = box ? parse(getComputedStyle(box.querySelector('rect')).fill) : behind(e);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.push([e.className.baseVal ?? e.className, e.textContent.slice(0, 20), ratio.toFixed(2)]);
  }
  return [seen, poor.slice(0, 10)];
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["kinds", "two"])
def test_all_text_can_be_read_in_light_and_dark(opened, scheme, name):
    page = opened(name, scheme)
    seen, poor = page.ask(CONTRAST)
    assert seen > 500
    assert poor == []


def test_light_and_dark_follow_the_system_and_the_button(opened):
    page = opened("one", "light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.ask(ground)
    page.click("#theme")
    dark = page.ask(ground)
    assert light != dark
    page.scheme("dark")
    assert page.ask(ground) == dark
    page.click("#theme")
    assert page.ask(ground) == light


@pytest.mark.parametrize("name", ["one", "two", "kinds", "hostile"])
@pytest.mark.parametrize("width", [390, 800, 1400])
def test_nothing_sticks_out_sideways(opened, name, width):
    page = opened(name, width=width)
    assert page.ask("document.documentElement.scrollWidth") <= width


def test_everything_has_a_name_for_screen_readers(opened):
    page = opened("two")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        "button",
        "tab",
        "option",
        "listbox",
        "searchbox",
        "link",
        "region",
        "image",
        "table",
        "tabpanel",
        "navigation",
        "search",
        "group",
    }
    roles = set()
    for node in nodes:
        role = node.get("role", {}).get("value")
        if node.get("ignored") or role not in named - {"table", "group"}:
            continue
        roles.add(role)
        assert node["name"].get("value", "").strip(), node
    assert {"button", "tab", "option", "listbox", "searchbox", "link", "image", "navigation", "search", "tabpanel"} <= roles
    landmarks = {node["role"]["value"] for node in nodes if not node.get("ignored")}
    assert {"banner", "main", "contentinfo", "navigation"} <= landmarks


def test_headings_leave_out_no_level(opened):
    page = opened("two")
    levels = page.ask("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_drawing_is_resized(opened):
    page = opened("one")
    wide = "document.querySelector('.flow').getBoundingClientRect().width"
    before = page.ask(wide)
    page.click('[data-zoom="1"]')
    larger = page.ask(wide)
    page.click('[data-zoom="0"]')
    assert page.ask(wide) <= page.ask("document.querySelector('.canvas').clientWidth") < before < larger


def test_prints_with_its_colours_and_both_architectures(opened):
    page = opened("one")
    raw = page.paper()
    assert raw.startswith(b"%PDF")
    assert raw.count(b"/Type /Page\n") in range(5, 20)
    # What is open only on paper is closed again.
    assert page.ask("document.querySelectorAll('#p-x86_64 details[open]').length") == 1
    assert json.loads(page.ask("JSON.stringify([...document.querySelectorAll('.panel')].map(p => p.hidden))")) == [False, True]


def test_page_can_be_read_without_its_script(browser, files):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(files / "one.html")
        root = browser.call("DOM.getDocument")["root"]["nodeId"]
        for cell in ("#c-x86_64-openat", "#c-x86-socketcall"):
            node = browser.call("DOM.querySelector", nodeId=root, selector=cell)["nodeId"]
            assert browser.call("DOM.getBoxModel", nodeId=node)["model"]["width"] > 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
