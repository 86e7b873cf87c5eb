"""Drives a headless Chromium by its DevTools protocol: opens a page, clicks, types, looks."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-port=0",
)
PATIENCE = 240.0
"""Seconds until a page has what is waited for, on a machine that has much else to do."""
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), " ": (32, " "), "ArrowRight": (39, "")}

CONTRASTS = """
(() => {
  const light = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const read = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = ([r, g, b, a = 1], below) =>
    [r, g, b].map((c, i) => a * c + (1 - a) * below[i]);
  const ground = (node) => {
    const below = node.parentElement ? ground(node.parentElement) : [255, 255, 255];
    return over(read(getComputedStyle(node).backgroundColor), below);
  };
  const seen = { opacityProperty: true, visibilityProperty: true };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node; (node = walker.nextNode()); ) {
    const at = node.parentElement, text = node.textContent.trim();
    if (!text || !at.checkVisibility(seen)) continue;
    if (at.closest("[aria-hidden=true], [disabled], .disabled, script, style")) continue;
    const below = ground(at), ink = over(read(getComputedStyle(at).color), below);
    const [more, less] = [luminance(ink), luminance(below)].sort((a, b) => b - a);
    found.push([text, (more + 0.05) / (less + 0.05)]);
  }
  return found;
})()
"""
"""[text, contrast as WCAG 2 defines it] of every text that can be seen."""


class Page:
    """A page in a browser.

    Attributes:
        said: what its console said, and which requests were refused.
        asked: addresses that it asked for.
    """

    def __init__(self, socket: Any) -> None:
        self.socket, self.number = socket, 0
        self.said: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=PATIENCE))
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.note(answer.get("method", ""), answer.get("params", {}))

    def note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif event == "Network.webSocketCreated":
            self.asked.append(params["url"])
        elif event == "Runtime.exceptionThrown":
            self.said.append(json.dumps(params["exceptionDetails"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.said.append(params["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.said.append(json.dumps(params["args"]))

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def look(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + PATIENCE
        while not (value := self.look(expression)):
            assert time.monotonic() < end, f"{expression}\n{self.text()}\n{self.said}"
            time.sleep(0.05)
        return value

    def text(self) -> str:
        """All text that can be seen."""
        return self.look("document.body?.innerText")

    def wait_text(self, text: str) -> None:
        self.wait(f"document.body?.innerText.includes({json.dumps(text)})")

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element of a selector that contains a text."""
        self.wait(
            f"(() => {{ const at = [...document.querySelectorAll({json.dumps(selector)})]"
            f".find((at) => at.checkVisibility() && at.textContent.includes({json.dumps(text)}));"
            " at?.click(); return !!at; })()"
        )

    def focus(self, selector: str) -> None:
        self.look(f"document.querySelector({json.dumps(selector)}).focus()")

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def press(self, key: str) -> None:
        code, text = KEYS[key]
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **given)
        self.send("Input.dispatchKeyEvent", type="keyUp", **given)

    def choose_file(self, selector: str, file: Path) -> None:
        """Put a file into an input of files."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def drop_file(self, selector: str, file: Path) -> None:
        """Drag a file from elsewhere onto an element, and drop it."""
        x, y = self.look(
            f"(() => {{ const at = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [at.right - 9, at.bottom - 9]; })()"
        )
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def screenshot(self, out: Path) -> None:
        """Take a picture of what is in view, JPEG or PNG by the name of the file."""
        kind = {".jpg": {"format": "jpeg", "quality": 85}}.get(out.suffix, {"format": "png"})
        shot = self.send("Page.captureScreenshot", **kind)
        out.write_bytes(base64.b64decode(shot["data"]))

    def nameless(self) -> list[str]:
        """What can be operated or is an image, and has no name for a screen reader."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        wanted = {
            "button", "checkbox", "combobox", "image", "link", "slider", "tab", "textbox",
        }  # fmt: skip
        return [
            json.dumps(node)
            for node in nodes
            if not node["ignored"]
            and node["role"]["value"] in wanted
            and not node.get("name", {}).get("value")
        ]

    def faint(self, least: float = 4.5) -> list[tuple[str, float]]:
        """Texts whose contrast is below that of WCAG 2, level AA."""
        return [(text, ratio) for text, ratio in self.look(CONTRASTS) if ratio < least]


@contextmanager
def open_browser(profile: Path) -> Iterator[Page]:
    """A browser with an empty page."""
    assert CHROMIUM is not None
    words = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = profile / "DevToolsActivePort"
        end = time.monotonic() + PATIENCE
        while not (port.exists() and len(port.read_text().splitlines()) == 2):
            assert process.poll() is None, "Chromium has ended"
            assert time.monotonic() < end, "Chromium does not start"
            time.sleep(0.05)
        number, browser = port.read_text().splitlines()
        with connect(f"ws://127.0.0.1:{number}{browser}", max_size=None, proxy=None) as socket:
            yield Page(Target(socket))
    finally:
        process.terminate()
        process.wait(10)


class Target:
    """A connection to the only page of a browser, through that to the browser."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.session = socket, ""
        page = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.socket.send(json.dumps({"id": 0, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv(timeout=PATIENCE))).get("id") != 0:
            pass
        return answer["result"]

    def send(self, text: str) -> None:
        self.socket.send(json.dumps({**json.loads(text), "sessionId": self.session}))

    def recv(self, timeout: float) -> str:
        return self.socket.recv(timeout=timeout)
