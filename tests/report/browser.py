"""A real Chromium, driven over a pipe by its DevTools protocol: real time, real clicks and keys, what it says and fetches."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
_KEYS = {" ": ("Space", 32), "ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39), "Home": ("Home", 36)}
_KEYS |= {"End": ("End", 35), "Enter": ("Enter", 13), "Tab": ("Tab", 9)}


class Tab:
    """A page that is open. `console` is what it said, `fetched` the addresses that it asked for, both since it was opened."""

    def __init__(self, process: "subprocess.Popen[bytes]", to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._number, self._buffer, self._session = 0, b"", None
        self.console: list[str] = []
        self.fetched: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self.resize(1280, 1600)

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def open(self, page: Path | str) -> None:
        """Open a file, or an address."""
        self._call("Page.navigate", url="about:blank")
        self.until("location.href == 'about:blank' && document.readyState == 'complete'")  # the page before is silent now
        self.console.clear()
        self.fetched.clear()
        self._call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        self.until("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """What an expression, or the promise that it is, gives."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str, seconds: float = 120.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(condition):
            assert time.monotonic() < end, f"not within {seconds} s: {condition}"
            time.sleep(0.02)

    def click(self, element: str) -> None:
        """Click with the mouse in the middle of the element that an expression gives."""
        x, y = self.js(
            f"(() => {{ const e = {element}; e.scrollIntoView({{ block: 'center', behavior: 'instant' }});"
            " const box = e.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        code, number = _KEYS.get(key, ("", ord(key[0])))
        given = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", **given, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **given)

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """Save what the window shows, or the whole page, as PNG."""
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def _call(self, method: str, **given: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        os.write(self._to, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _receive(self) -> Any:
        while b"\0" not in self._buffer:
            part = os.read(self._back, 1 << 20)
            assert part, f"Chromium ended: {self._process.poll()}"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event: Any) -> None:
        given = event.get("params", {})
        if event["method"] == "Runtime.consoleAPICalled":
            self.console.append(str([part.get("value") for part in given["args"]]))
        elif event["method"] == "Runtime.exceptionThrown":
            self.console.append(str(given["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded":
            self.console.append(given["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent":
            self.fetched.append(given["request"]["url"])


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Start Chromium with a new profile, and end it."""
    (theirs, to), (back, answers) = os.pipe(), os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, answers)]  # out of the way of 3 and 4

    def place() -> None:  # it reads from 3 and writes to 4
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [str(CHROMIUM), *_SWITCHES, f"--user-data-dir={profile}"],
        preexec_fn=place,
        close_fds=False,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    for end in (theirs, answers, *high):
        os.close(end)
    try:
        yield Tab(process, to, back)
    finally:
        process.terminate()
        process.wait(30)
        os.close(to)
        os.close(back)
