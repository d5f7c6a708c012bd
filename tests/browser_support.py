"""A real headless Chromium for tests, driven over a pipe by the DevTools protocol with nothing but the standard library.

``--remote-debugging-pipe``: the browser reads commands from its descriptor 3 and writes answers and events to 4, each a JSON text ended by a zero
byte. No port is opened, so nothing races for one. Every wait is for an event or an answer, never for time to pass; a browser that says nothing at
all for a minute fails the test.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from support import need_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Page", "open_page"]

#: seconds of silence after which a browser is taken to hang
PATIENCE = 60.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe", "--hide-scrollbars", "about:blank",
)  # fmt: skip
_KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


class Page:
    """One page. ``events`` are all that came so far, (method, parameters)."""

    def __init__(self, read: int, write: int) -> None:
        self._read = read
        self._write = os.fdopen(write, "wb", buffering=0)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._answers: dict[int, dict[str, Any]] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []

    def close(self) -> None:
        """Let go of the pipes."""
        os.close(self._read)
        self._write.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        while number not in self._answers:
            self._receive()
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> None:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], PATIENCE)
            assert ready, f"the browser has said nothing for {PATIENCE:g} s"
            more = os.read(self._read, 1 << 20)
            assert more, "the browser ended"
            self._buffer += more
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(raw)
        if "id" in message:
            self._answers[message["id"]] = message
        else:
            self.events.append((message["method"], message.get("params", {})))

    def wait(self, method: str, holds: Callable[[dict[str, Any]], bool] = lambda _: True, since: int = 0) -> dict[str, Any]:
        """The first event of this name, from the ``since``th on, for which ``holds`` is true."""
        at = since
        while True:
            while at < len(self.events):
                name, parameters = self.events[at]
                at += 1
                if name == method and holds(parameters):
                    return parameters
            self._receive()

    def attach(self) -> None:
        """Take the browser's first page, and listen to all that could go wrong in it."""
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        for domain in ("Page", "Runtime", "Log", "Network", "Security"):
            self.call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Load a file and wait until it has loaded."""
        since = len(self.events)
        self.call("Page.navigate", url=path.as_uri())
        self.wait("Page.loadEventFired", since=since)

    def size(self, width: int, height: int = 900) -> None:
        """The window's size in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, scheme: str) -> None:
        """``light`` or ``dark``: what prefers-color-scheme says."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def press(self, key: str) -> None:
        """A key, pressed and released as a person does it."""
        if key in _KEYS:
            code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
            down = {**code, "text": {"Enter": "\r"}.get(key, key)} if key in ("Enter", " ") else code
        else:
            code = {"key": key}
            down = {**code, "text": key}
        self.call("Input.dispatchKeyEvent", type="keyDown", **down)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        for character in text:
            self.press(character)

    def click(self, selector: str) -> None:
        """Click in the middle of an element, which is scrolled into sight first."""
        place = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button=button, clickCount=0 if button == "none" else 1)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(got["data"]))

    def paper(self) -> bytes:
        """The page as PDF, as printed on A4."""
        got = self.call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(got["data"])

    def complaints(self) -> list[str]:
        """Whatever the console, the log or an exception said."""
        out = []
        for method, parameters in self.events:
            if method == "Runtime.exceptionThrown":
                out.append(parameters["exceptionDetails"]["text"] + str(parameters["exceptionDetails"].get("exception", "")))
            elif method == "Runtime.consoleAPICalled":
                out.append(str(parameters["args"]))
            elif method == "Log.entryAdded":
                out.append(parameters["entry"]["text"])
        return out

    def requests(self) -> list[str]:
        """The address of everything that was asked for."""
        return [parameters["request"]["url"] for method, parameters in self.events if method == "Network.requestWillBeSent"]


@contextlib.contextmanager
def open_page() -> Iterator[Page]:
    """A page of a new browser with an empty profile of its own; all of it is gone afterwards."""
    program = need_program("chromium", "chromium")
    profile = tempfile.mkdtemp(prefix="seclude-chromium-")
    browser_reads, we_write = os.pipe()
    we_read, browser_writes = os.pipe()
    # The shell puts the pipes where the browser looks for them, and becomes the browser.
    script = f'exec "$@" 3<&{browser_reads} 4>&{browser_writes}'
    if {3, 4} & {browser_reads, browser_writes}:  # one of them is at 3 or 4 already: out of the way first
        script = f'exec 8<&{browser_reads} 9>&{browser_writes}; exec "$@" 3<&8 4>&9 8<&- 9>&-'
    process = subprocess.Popen(
        ["bash", "-c", script, "browser", program, f"--user-data-dir={profile}", *FLAGS],
        pass_fds=(browser_reads, browser_writes), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    os.close(browser_reads)
    os.close(browser_writes)

    page = Page(we_read, we_write)
    try:
        page.attach()
        yield page
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        page.close()
        shutil.rmtree(profile, ignore_errors=True)
