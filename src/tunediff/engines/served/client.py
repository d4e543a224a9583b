"""HTTP client for JSON requests from several threads, with bounded retries.

    client = Client("http://localhost:8000/v1", key=None, timeout=120)
    client.post("/completions", {"model": "base", "prompt": "It is", "max_tokens": 1})

After a status such as 429 or 5xx, or a lost connection, all threads wait: as long as the server asks for, or twice as
long each time. Redirects are not followed, because they would pass on the key. The key is removed from all error
messages, including those of the server.
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

# Attempts per request, and seconds of the first and the longest wait between them; waits double.
TRIES, FIRST_WAIT, LONGEST_WAIT = 7, 0.5, 60.0
# The first timeout may be due to load; after the second the server is taken to hang.
TIMEOUTS = 2
# Statuses of a server, or a proxy before it, that is busy or restarting.
BUSY = {408, 409, 425, 429, 500, 502, 503, 504}
LARGEST, PART = 256 * 2**20, 2**16  # limit of a response in bytes, and bytes to read at a time


class RefusedError(TunediffError):
    """An error response; `status` is the HTTP status, such as 404."""

    def __init__(self, line: str, status: int) -> None:
        super().__init__(line)
        self.status = status


class _LostError(Exception):
    """A failed attempt that may be repeated; `wait`: seconds that the server asks for; `slow`: it timed out."""

    def __init__(self, reason: str, wait: float | None = None, slow: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.slow = wait, slow


class Client:
    """Client of one server; thread-safe, with a persistent connection per thread.

    Args:
        url: address of the server, including the version, such as http://localhost:8000/v1.
        key: API key, or None.
        timeout: seconds until a request times out.
    """

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        self.url, self.timeout, self._key = url.rstrip("/"), timeout, key
        parts = urlsplit(self.url)
        self._host, self._path, self._secure = parts.netloc, parts.path, parts.scheme == "https"
        self._local = threading.local()
        self._open: set[http.client.HTTPConnection] = set()
        self._gate = threading.Condition()
        self._not_before, self._stopped = 0.0, False

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post a JSON object and return the parsed response; path and errors as for `get`."""
        return self._request("POST", path, json.dumps(body).encode())

    def get(self, path: str, tries: int = TRIES) -> Any:
        """Return the parsed response for a path.

        Args:
            path: path relative to the address; with a leading "//", relative to the address without the version.
            tries: maximum number of attempts if the server is busy or cannot be reached.

        Raises:
            RefusedError: the server responds with an error.
            TunediffError: the server cannot be reached, stays busy, times out, or does not respond with JSON.
        """
        return self._request("GET", path, None, tries)

    def start(self) -> None:
        """Allow requests again after `stop`."""
        self._stopped = False

    def stop(self) -> None:
        """Abort all requests in flight, and allow no further ones until `start`."""
        with self._gate:
            self._stopped = True
            self._gate.notify_all()
        for connection in list(self._open):
            if connection.sock is not None:
                with suppress(OSError):  # already closed
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _request(self, method: str, path: str, body: bytes | None, tries: int = TRIES) -> Any:
        slow, wait = 0, FIRST_WAIT
        for number in range(1, tries + 1):
            self._pass_gate()
            try:
                status, data, retry_after = self._send(method, path, body)
                if status in BUSY:
                    raise _LostError(f"answered {status}: {self._error_message(data)}", retry_after)
                return self._parsed(status, data, path)
            except _LostError as lost:
                self._drop()
                slow += lost.slow
                if number == tries or slow == TIMEOUTS or self._stopped:
                    times = f", {number} times" if number > 1 and not self._stopped else ""
                    self._fail(path, f"{lost}{times}")
                pause = min(LONGEST_WAIT, wait if lost.wait is None else lost.wait)
                # Jitter, so that threads do not retry at the same moment.
                self._wait(pause * random.uniform(1.0, 1.25))
                wait *= 2
        raise AssertionError

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, float | None]:
        """Send one request; return the status, the body and the seconds of Retry-After, if any."""
        until = time.monotonic() + self.timeout
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection = self._connection()
            connection.request(method, _url(self._path, path), body, headers)
            answer = connection.getresponse()
            data = b""
            while part := answer.read1(PART):
                data += part
                if len(data) > LARGEST:
                    self._drop()
                    self._fail(path, f"answered with more than {LARGEST:,} bytes")
                if time.monotonic() > until:  # the socket's timeout applies to each part
                    raise TimeoutError
        except TimeoutError:
            reason = f"did not complete an answer within {self.timeout:g} seconds (engine.timeout)"
            raise _LostError(reason, slow=True) from None
        except (OSError, http.client.HTTPException) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
            if isinstance(error, socket.gaierror):
                reason = "the host name cannot be resolved"
            raise _LostError(f"cannot be reached: {reason}") from None
        answer.close()  # `read1` does not mark the response as complete
        if answer.will_close:
            self._drop()
        return answer.status, data, _seconds(answer.getheader("Retry-After"))

    def _connection(self) -> http.client.HTTPConnection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = self._local.connection = kind(self._host, timeout=self.timeout)
            self._open.add(connection)
        if self._stopped:
            raise _LostError("is not queried further")
        return connection

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            self._local.connection = None
            self._open.discard(connection)
            connection.close()

    def _pass_gate(self) -> None:
        with self._gate:
            while not self._stopped and (left := self._not_before - time.monotonic()) > 0:
                self._gate.wait(left)

    def _wait(self, seconds: float) -> None:
        with self._gate:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _parsed(self, status: int, data: bytes, path: str) -> Any:
        if status >= 300:
            raise RefusedError(f"{_url(self.url, path)}: answered {status}: {self._error_message(data)}", status)
        try:
            return json.loads(data, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, _NoNumberError) else f"answered {shown(self._hidden(data), 60)}"
            self._fail(path, f"{reason}, expected JSON")

    def _error_message(self, data: bytes) -> str:
        """The message of an error response, in OpenAI's or FastAPI's form if it has one, without the key."""
        try:
            message = json.loads(data)
            message = message.get("error", message.get("detail", message)) if isinstance(message, dict) else message
            message = message.get("message", message) if isinstance(message, dict) else message
        except ValueError:
            message = data.decode("utf-8", "replace")
        return shown(self._hidden(str(message).encode()), 200)

    def _hidden(self, data: bytes) -> str:
        text = data[:4000].decode("utf-8", "replace")
        return text.replace(self._key, "***") if self._key else text

    def _fail(self, path: str, line: str) -> NoReturn:
        raise TunediffError(f"{_url(self.url, path)}: {line}")


def _url(address: str, path: str) -> str:
    """The URL of a path; for one that starts with "//", without the version of the address."""
    return re.sub(r"/v\d+$", "", address) + path[1:] if path.startswith("//") else address + path


class _NoNumberError(ValueError):
    pass


def _no_number(name: str) -> NoReturn:
    raise _NoNumberError(f"answered with {name} as a number")


def _seconds(header: str | None) -> float | None:
    """The seconds of a Retry-After header; None for a date, which model servers do not send."""
    try:
        found = float(header or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def key_of_environment(name: str | None) -> str | None:
    """Return the API key in an environment variable; None if no variable is named.

    Raises:
        TunediffError: the variable is not set, or does not hold a valid key; the message does not show the value.
    """
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        found = "is not set" if not key else "does not hold a valid key"
        raise TunediffError(f"params.yaml: engine.api_key_env: the environment variable {name} {found}")
    return key
