"""A headless Chromium that a test opens pages in and asks about, over the pipe of its debugging protocol.

    with Browser(program, tmp_path) as browser:
        browser.open(path)
        browser.run("document.title")        # the value of a JavaScript expression
        browser.console                      # errors and warnings of the page

The protocol is JSON, each message ended by a zero byte: commands on descriptor 3, answers and events on 4.
"""

import base64
import fcntl
import json
import os
import select
import subprocess
import time


class Browser:
    """One tab of a browser that ends with the block."""

    def __init__(self, program, folder):
        (theirs_in, self.to), (self.back, theirs_out) = os.pipe(), os.pipe()
        # Above 4, so that neither is overwritten before it is copied to its place.
        high_in, high_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out))

        def place():
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += ["--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}", "about:blank"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=place, pass_fds=(3, 4), **quiet)
        for end in (theirs_in, theirs_out, high_in, high_out):
            os.close(end)
        self.buffer, self.number, self.session, self.console, self.events = b"", 0, None, [], set()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)
        os.close(self.to)
        os.close(self.back)

    def ask(self, method, **params):
        """Send a command; its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _read(self, seconds=120):
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.back], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self.back, 1 << 20)
            assert piece, "the browser has ended"
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method"), message.get("params"))
        return message

    def _note(self, method, params):
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled":
            self.console.append(str([one.get("value") for one in params["args"]]))
        elif method == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.events.add(("request", params["request"]["url"][:100]))
        elif method:
            self.events.add((method, None))

    def open(self, path):
        """Open a file and wait for it to be loaded."""
        self.console.clear()
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        while ("Page.loadEventFired", None) not in self.events:
            self._read()

    def requests(self):
        """What was loaded from anywhere but the page itself."""
        return {url for kind, url in self.events if kind == "request" and not url.startswith(("file:", "data:"))}

    def run(self, expression):
        """The value of a JavaScript expression, as JSON has it."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key):
        """Press a key where the focus is."""
        code = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, " ": 32}[key]
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        for kind in ("keyDown", "keyUp"):
            given = text if kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **given)

    def type(self, text):
        """Type text where the focus is."""
        self.ask("Input.insertText", text=text)

    def look(self, scheme="light", media="screen", width=1100, height=900):
        """Show the page in a colour scheme, on screen or paper, in a window of so many pixels."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def picture(self, path, whole=True):
        """Save the page as a PNG file."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole, format="png", **self._clip(whole))[
            "data"
        ]
        path.write_bytes(base64.b64decode(data))

    def _clip(self, whole):
        if not whole:
            return {}
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def pdf(self, path):
        """Print the page to a PDF file."""
        path.write_bytes(base64.b64decode(self.ask("Page.printToPDF", printBackground=False)["data"]))
