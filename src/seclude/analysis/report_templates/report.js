"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const panels = all(".panel");
  const box = one("#q");
  const found = one("#found");
  const pressed = new Set();

  // ── light and dark
  const dark = matchMedia("(prefers-color-scheme: dark)");
  one("#theme").addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  // ── architectures
  const tabs = all("[role=tab]");
  const shown = () => panels.find((panel) => !panel.hidden);
  function choose(tab, focus) {
    for (const other of tabs) {
      const on = other === tab;
      other.setAttribute("aria-selected", String(on));
      other.tabIndex = on ? 0 : -1;
      one("#" + other.getAttribute("aria-controls")).hidden = !on;
    }
    if (focus) tab.focus();
    count();
  }
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1 : step && (index + step + tabs.length) % tabs.length;
      if (to === undefined) return;
      event.preventDefault();
      choose(tabs[to], true);
    });
  }

  // ── what a search looks at: the call's name and number, its family, what happens to it, and its conditions
  const calls = [];
  for (const cell of all(".c")) {
    const row = document.getElementById("r" + cell.id.slice(1));
    const family = cell.closest(".family");
    const text = [cell.getAttribute("aria-label"), one("h4 span", family).textContent, row ? row.textContent : ""].join(" ").toLowerCase();
    calls.push({ cell, row, family, text, kinds: cell.dataset.k.split(" ").concat(cell.classList.contains("d") ? ["d"] : []) });
  }
  const byCell = new Map(calls.map((call) => [call.cell, call]));
  function search() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kinds = [...pressed].filter((kind) => kind !== "d");
    for (const call of calls) {
      const hit = words.every((word) => call.text.includes(word))
        && (!kinds.length || kinds.some((kind) => call.kinds.includes(kind)))
        && (!pressed.has("d") || call.kinds.includes("d"));
      call.cell.hidden = !hit;
      if (call.row) call.row.hidden = !hit;
    }
    const some = (root, selector) => one(selector + ":not([hidden])", root) !== null;
    for (const family of all(".family")) family.hidden = !some(family, ".c");
    for (const tier of all(".tier")) tier.hidden = !some(tier, ".family");
    const narrowed = words.length > 0 || pressed.size > 0;
    for (const details of all(".panel .clauses:not(.rest)")) {
      const any = some(details, "tbody tr");
      details.hidden = !any;
      if (details.dataset.was === undefined) details.dataset.was = String(details.open);
      details.open = narrowed && words.length ? any : details.dataset.was === "true";
      if (!narrowed) delete details.dataset.was;
    }
    for (const panel of panels) rove(panel);
    count(narrowed);
  }
  function count(narrowed = box.value.trim() !== "" || pressed.size > 0) {
    const cells = all(".c", shown());
    const hits = cells.filter((cell) => !cell.hidden).length;
    found.textContent = narrowed ? `${hits} of ${cells.length} calls` : "";
  }
  box.addEventListener("input", search);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && box.value) { box.value = ""; search(); event.preventDefault(); }
  });
  for (const key of all(".key")) {
    key.addEventListener("click", () => {
      const on = !pressed.delete(key.dataset.k);
      if (on) pressed.add(key.dataset.k);
      key.setAttribute("aria-pressed", String(on));
      search();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && event.target !== box) { event.preventDefault(); box.focus(); box.select(); }
  });

  // ── cells: one of a panel is in the tab order, arrows move
  function visible(panel) { return all(".c", panel).filter((cell) => !cell.hidden); }
  function rove(panel, to) {
    const cells = visible(panel);
    const now = to || cells.find((cell) => cell.tabIndex === 0) || cells[0];
    for (const cell of all('.c[tabindex="0"]', panel)) if (cell !== now) cell.tabIndex = -1;
    if (now) now.tabIndex = 0;
  }
  function vertical(cells, from, up) {
    const at = from.getBoundingClientRect();
    const middle = at.left + at.width / 2;
    let best = null, score = Infinity;
    for (const cell of cells) {
      const place = cell.getBoundingClientRect();
      const gap = up ? at.top - place.top : place.top - at.top;
      if (gap < 5) continue;
      const far = gap * 1000 + Math.abs(place.left + place.width / 2 - middle);
      if (far < score) { score = far; best = cell; }
    }
    return best;
  }
  function inspect(cell) {
    const panel = cell.closest(".panel");
    const call = byCell.get(cell);
    for (const other of all('.c[aria-selected="true"]', panel)) other.setAttribute("aria-selected", "false");
    cell.setAttribute("aria-selected", "true");
    const side = one(".inspector", panel);
    const make = (name, text, style) => { const node = document.createElement(name); node.textContent = text; if (style) node.className = style; return node; };
    const nodes = [make("h4", cell.id.slice(cell.id.indexOf("-", 2) + 1))];
    const [, number, ...ways] = call.row.cells;
    nodes.push(make("p", `number ${number.textContent}, ${one("h4 span", call.family).textContent.toLowerCase()}`, "sub"));
    const alike = ways.length > 1 && ways[0].innerHTML === ways[1].innerHTML;
    for (const [index, way] of ways.entries()) {
      if (alike && index) break;
      if (ways.length > 1) nodes.push(make("h5", alike ? "A and B alike" : "AB"[index]));
      for (const line of way.children) {
        const copy = line.cloneNode(true);
        const tag = one(".tag", copy);
        if (tag && tag.title) tag.after(make("span", tag.title, "means"));
        nodes.push(copy);
      }
    }
    side.replaceChildren(...nodes);
  }
  for (const panel of panels) {
    panel.addEventListener("mouseover", (event) => { const cell = event.target.closest(".c"); if (cell) inspect(cell); });
    panel.addEventListener("focusin", (event) => { const cell = event.target.closest(".c"); if (cell) { rove(panel, cell); inspect(cell); } });
    panel.addEventListener("click", (event) => { const cell = event.target.closest(".c"); if (cell) cell.focus({ preventScroll: true }); });
    panel.addEventListener("keydown", (event) => {
      const cell = event.target.closest(".c");
      if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
      const cells = visible(panel);
      const index = cells.indexOf(cell);
      let to;
      switch (event.key) {
        case "ArrowRight": to = cells[index + 1]; break;
        case "ArrowLeft": to = cells[index - 1]; break;
        case "ArrowDown": to = vertical(cells, cell, false); break;
        case "ArrowUp": to = vertical(cells, cell, true); break;
        case "Home": to = cells[0]; break;
        case "End": to = cells[cells.length - 1]; break;
        case "Enter": case " ": to = byCell.get(cell).row; to.closest("details").open = true; break;
        default: return;
      }
      event.preventDefault();
      if (to) to.focus();
    });
    rove(panel);
  }

  // ── drawings
  for (const graph of all(".graph")) {
    const canvas = one(".canvas", graph);
    const drawing = one(".flow", graph);
    const width = drawing.viewBox.baseVal.width, height = drawing.viewBox.baseVal.height;
    let scale = 1;
    const resize = () => { drawing.setAttribute("width", Math.round(width * scale)); drawing.setAttribute("height", Math.round(height * scale)); };
    for (const button of all("[data-zoom]", graph)) {
      button.addEventListener("click", () => {
        const step = Number(button.dataset.zoom);
        scale = step ? Math.min(2, Math.max(0.1, scale * (step > 0 ? 1.25 : 0.8))) : Math.min(1, canvas.clientWidth / width, innerHeight * 0.8 / height);
        resize();
      });
    }
  }

  // ── on paper all is open but what the picture says already, and the listings
  let closed = [];
  addEventListener("beforeprint", () => { closed = all("details:not([open]):not(.listing):not(.plain)"); for (const details of closed) details.open = true; });
  addEventListener("afterprint", () => { for (const details of closed) details.open = false; });

  if (tabs.length) choose(tabs[0]);
})();
