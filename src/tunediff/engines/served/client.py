"""Requests to a server: JSON over HTTP, from several threads, patient with one that is busy and never endless.

    client = Client("http://localhost:8000/v1", key=None, timeout=120)
    client.post("/completions", {"model": "base", "prompt": "It is", "max_tokens": 1})

What a server says of itself (429, 5xx), and a connection that is lost, is answered by waiting: twice as long each time,
or as long as it asks for, and all threads wait with the one that was told so. No redirect is followed, because the key
would go along. The key is in no error, whatever a server writes back.
"""

import http.client
import json
import math
import os
import random
import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn
from urllib.parse import urlsplit

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

# Tries of a request, and seconds before the second one; each further wait is twice as long, up to the last number.
TRIES, FIRST_WAIT, LONGEST_WAIT = 7, 0.5, 60.0
# A request that took too long once may be one too many; twice, and the server hangs.
TIMEOUTS = 2
# The server is busy, restarts, or is behind a proxy that says so.
BUSY = {408, 409, 425, 429, 500, 502, 503, 504}
LARGEST, PART = 256 * 2**20, 2**16  # bytes of an answer, and of what is read of it at once


class RefusedError(TunediffError):
    """A server's answer that says no; `status` is HTTP's, such as 404."""

    def __init__(self, line: str, status: int) -> None:
        super().__init__(line)
        self.status = status


class _LostError(Exception):
    """A try that came to nothing, and why; `wait`: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float | None = None, slow: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.slow = wait, slow


class Client:
    """Asks one server; may be used from several threads, each of which keeps a connection open."""

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        """`url`: up to the version; `key`: what the server wants to see, or None; `timeout`: seconds of a request."""
        self.url, self.timeout, self._key = url.rstrip("/"), timeout, key
        parts = urlsplit(self.url)
        self._host, self._path, self._secure = parts.netloc, parts.path, parts.scheme == "https"
        self._own = threading.local()
        self._open: set[http.client.HTTPConnection] = set()
        self._gate = threading.Condition()
        self._not_before, self._stopped = 0.0, False

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the server answers to an object, parsed; path and errors as in `get`."""
        return self._request("POST", path, json.dumps(body).encode())

    def get(self, path: str, tries: int = TRIES) -> Any:
        """What stands at a path behind the address; one that starts with "//" is the server's, without the version.

        Args:
            path: the path.
            tries: how often a server is asked that is busy or cannot be reached.

        Raises:
            RefusedError: the server refuses the request.
            TunediffError: it cannot be reached, stays busy, hangs, or does not answer in JSON.
        """
        return self._request("GET", path, None, tries)

    def start(self) -> None:
        """Ask again, after `stop`."""
        self._stopped = False

    def stop(self) -> None:
        """End every request that is at work; none is made until `start`."""
        with self._gate:
            self._stopped = True
            self._gate.notify_all()
        for connection in list(self._open):
            if connection.sock is not None:
                with suppress(OSError):  # it is closed already
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _request(self, method: str, path: str, body: bytes | None, tries: int = TRIES) -> Any:
        slow, wait = 0, FIRST_WAIT
        for number in range(1, tries + 1):
            self._pass_gate()
            try:
                status, data, asked = self._once(method, path, body)
                if status in BUSY:
                    raise _LostError(f"answered {status}: {self._said(data)}", asked)
                return self._parsed(status, data, path)
            except _LostError as lost:
                self._drop()
                slow += lost.slow
                if number == tries or slow == TIMEOUTS or self._stopped:
                    times = f", {number} times" if number > 1 and not self._stopped else ""
                    self._fail(path, f"{lost}{times}")
                pause = min(LONGEST_WAIT, wait if lost.wait is None else lost.wait)
                # Threads that were told the same moment do not come back at the same one.
                self._wait(pause * random.uniform(1.0, 1.25))
                wait *= 2
        raise AssertionError

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, float | None]:
        """The status, the bytes, and for how many seconds the server wants to be left alone, where it says so."""
        until = time.monotonic() + self.timeout
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection = self._connection()
            connection.request(method, _at(self._path, path), body, headers)
            answer = connection.getresponse()
            data = b""
            while part := answer.read1(PART):
                data += part
                if len(data) > LARGEST:
                    self._drop()
                    self._fail(path, f"answered with more than {LARGEST:,} bytes")
                if time.monotonic() > until:  # the time that a socket has is one part's
                    raise TimeoutError
        except TimeoutError:
            reason = f"did not complete an answer within {self.timeout:g} seconds (engine.timeout)"
            raise _LostError(reason, slow=True) from None
        except (OSError, http.client.HTTPException) as error:
            said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
            if isinstance(error, socket.gaierror):
                said = "the host name cannot be resolved"
            raise _LostError(f"cannot be reached: {said}") from None
        answer.close()  # else the connection would wait for what `read1` has read
        if answer.will_close:
            self._drop()
        return answer.status, data, _seconds(answer.getheader("Retry-After"))

    def _connection(self) -> http.client.HTTPConnection:
        found = getattr(self._own, "connection", None)
        if found is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            found = self._own.connection = kind(self._host, timeout=self.timeout)
            self._open.add(found)
        if self._stopped:
            raise _LostError("is not queried further")
        return found

    def _drop(self) -> None:
        found = getattr(self._own, "connection", None)
        if found is not None:
            self._own.connection = None
            self._open.discard(found)
            found.close()

    def _pass_gate(self) -> None:
        with self._gate:
            while not self._stopped and (left := self._not_before - time.monotonic()) > 0:
                self._gate.wait(left)

    def _wait(self, seconds: float) -> None:
        with self._gate:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _parsed(self, status: int, data: bytes, path: str) -> Any:
        if status >= 300:
            raise RefusedError(f"{_at(self.url, path)}: answered {status}: {self._said(data)}", status)
        try:
            return json.loads(data, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, _NoNumberError) else f"answered {shown(self._hidden(data), 60)}"
            self._fail(path, f"{reason}, expected JSON")

    def _said(self, data: bytes) -> str:
        """What an error of a server says: OpenAI's form of it where it has that."""
        try:
            said = json.loads(data)
            said = said.get("error", said.get("detail", said)) if isinstance(said, dict) else said
            said = said.get("message", said) if isinstance(said, dict) else said
        except ValueError:
            said = data.decode("utf-8", "replace")
        return shown(self._hidden(str(said).encode()), 200)

    def _hidden(self, data: bytes) -> str:
        text = data[:4000].decode("utf-8", "replace")
        return text.replace(self._key, "***") if self._key else text

    def _fail(self, path: str, line: str) -> NoReturn:
        raise TunediffError(f"{_at(self.url, path)}: {line}")


def _at(address: str, path: str) -> str:
    """The path behind an address; one with "//" behind it without its version."""
    return re.sub(r"/v\d+$", "", address) + path[1:] if path.startswith("//") else address + path


class _NoNumberError(ValueError):
    pass


def _no_number(name: str) -> NoReturn:
    raise _NoNumberError(f"answered with {name} as a number")


def _seconds(header: str | None) -> float | None:
    """What a header Retry-After asks for; a date, which servers of models do not send, is none."""
    try:
        found = float(header or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def key_of_environment(name: str | None) -> str | None:
    """The key that an environment variable holds; None where none is named.

    Raises:
        TunediffError: the variable is not set, or does not hold a valid key. It is not shown.
    """
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        found = "is not set" if not key else "does not hold a valid key"
        raise TunediffError(f"params.yaml: engine.api_key_env: the environment variable {name} {found}")
    return key
