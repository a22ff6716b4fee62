"""A real browser without a window, driven over the Chrome DevTools Protocol's pipe: nothing but Chromium is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """PERCEPTION_BROWSER, else a Chromium on the path."""
    return os.environ.get("PERCEPTION_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page; `errors` collects what its scripts throw and what its console calls an error."""

    def __init__(self, executable: str, profile: Path) -> None:
        self.errors: list[str] = []
        self._count, self._buffer = 0, b""
        (their_in, self._out), (self._in, their_out) = os.pipe(), os.pipe()
        # Chromium reads from descriptor 3 and writes to 4; ours are moved out of the way first.
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (their_in, their_out)]
        command = [executable, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run"]
        command += [
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]
        command += [f"--user-data-dir={profile}", "--disable-background-networking", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{fds[0]} 4>&{fds[1]}', "bash", *command],
            pass_fds=fds,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (their_in, their_out, *fds):
            os.close(fd)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol and its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._count:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, page: Path, width: int = 1280, height: int = 800, phone: bool = False) -> None:
        """Load a file and wait for its load event and its first frame: observers of sizes have been called by then."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Page.navigate", url=page.resolve().as_uri())
        while self.evaluate("document.readyState !== 'complete' || location.href === 'about:blank'"):
            time.sleep(0.05)
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at a place (px), move it in steps and let go; a click where both places are one."""
        self._mouse("mousePressed", start)
        for step in range(1, 6) if start != end else ():
            self._mouse("mouseMoved", tuple(a + (b - a) * step / 5 for a, b in zip(start, end, strict=True)))
        self._mouse("mouseReleased", end)

    def _mouse(self, kind: str, place: tuple[float, ...]) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", buttons=1, clickCount=1)

    def screenshot(self, path: Path) -> Path:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], 60)[0]:
                raise TimeoutError("the browser has not answered for 60 s")
            data = os.read(self._in, 1 << 16)
            if not data:
                raise RuntimeError(f"the browser has ended with status {self._process.wait()}")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["params"]["exceptionDetails"])[:400])
        elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.errors.append(event["params"]["entry"]["text"])
