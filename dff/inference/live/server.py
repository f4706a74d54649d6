"""The live page: pictures as MJPEG, figures, and a slider; on the loopback address by default."""

import hmac
import ipaddress
import json
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

from dff.inference.live.page import PAGE

CLIENTS = 16
"""Connections at once."""
REQUESTS = 30
"""Of one client in a second."""
BODY = 200
"""Bytes of a request."""
QUALITY = 80
STILL = 1.0
"""Seconds after which a picture is sent again where no other has come."""


class LivePage:
    """A web page of pictures and figures.

    No path of a request is ever opened: there are five addresses, and all else is 404. Where it
    listens elsewhere than on the loopback address, every request needs the token of `url`.

    Args:
        host: Address to listen on.
        port: 0 takes a free one.
        names: Of the sources.
        figures: Gives the figures of all sources.
        set_key_duration: Takes another key duration.

    Raises:
        OSError: The port is in use, or is not this user's to take, or there is no such host.
        ValueError: It is no port.
    """

    def __init__(
        self,
        host: str,
        port: int,
        names: Sequence[str],
        figures: Callable[[], Mapping[str, Any]],
        set_key_duration: Callable[[int], None],
    ) -> None:
        self.names, self.figures, self.set_key_duration = list(names), figures, set_key_duration
        self.token = None if is_loopback(host) else secrets.token_urlsafe(16)
        self._pictures: list[tuple[int, np.ndarray] | None] = [None] * len(self.names)
        self._jpegs: dict[int, tuple[int, bytes]] = {}
        self._changed = threading.Condition()
        self._asked: dict[str, deque[float]] = {}
        self.clients = threading.BoundedSemaphore(CLIENTS)
        self.ended = threading.Event()
        page = self

        class Handler(_Handler):
            live = page

        if not 0 <= port <= 65535:
            raise ValueError(f"port {port}: wanted one from 1 to 65535, or 0 for a free one")
        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise OSError(
                f"no page at {host}, port {port} ({error.strerror}): give another port, or 0 for a "
                "free one; --host is an address of this machine"
            ) from error
        self._server.daemon_threads = True
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def show(self, source: int, picture: np.ndarray) -> None:
        """Takes the newest picture of a source, (H, W, 3) uint8 RGB."""
        with self._changed:
            before = self._pictures[source]
            self._pictures[source] = (0 if before is None else before[0] + 1), picture
            self._changed.notify_all()

    def close(self) -> None:
        """Stops listening, and ends all streams."""
        self.ended.set()
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def jpeg_after(self, source: int, number: int) -> tuple[int, bytes] | None:
        """The next picture of a source, encoded once for all clients; waits a second for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._newer(source, number), STILL)
            found = self._pictures[source]
            if found is None or self.ended.is_set():
                return None
            kept = self._jpegs.get(source)
            if kept is None or kept[0] != found[0]:
                how = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
                _, data = cv2.imencode(".jpg", found[1][..., ::-1], how)
                kept = self._jpegs[source] = found[0], data.tobytes()
            return kept

    def _newer(self, source: int, number: int) -> bool:
        found = self._pictures[source]
        return self.ended.is_set() or (found is not None and found[0] > number)

    def too_many(self, client: str) -> bool:
        """Whether a client asks too often."""
        now = time.monotonic()
        if len(self._asked) > 1000:
            self._asked.clear()
        asked = self._asked.setdefault(client, deque(maxlen=REQUESTS))
        full = len(asked) == REQUESTS and asked[0] > now - 1.0
        if not full:
            asked.append(now)
        return full


class _Handler(BaseHTTPRequestHandler):
    live: LivePage
    timeout = 30
    server_version, sys_version = "dff", ""

    def do_GET(self) -> None:
        if not self._allowed():
            return
        parts = urlsplit(self.path)
        if parts.path == "/":
            self._send(200, "text/html; charset=utf-8", PAGE.encode())
        elif parts.path == "/figures":
            self._send(200, "application/json", json.dumps(self.live.figures()).encode())
        elif parts.path in ("/stream", "/still"):
            source = parse_qs(parts.query).get("source", ["0"])[0]
            if not source.isdecimal() or int(source) >= len(self.live.names):
                self._send(404, "text/plain", b"there is no such source\n")
            elif parts.path == "/stream":
                self._stream(int(source))
            else:
                self._still(int(source))
        else:
            self._send(404, "text/plain", b"there is no such page\n")

    def do_POST(self) -> None:
        if not self._allowed():
            return
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
            self._send(403, "text/plain", b"another site may not set this\n")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY:
            self._send(413, "text/plain", b"too long\n")
            return
        if urlsplit(self.path).path != "/key_duration":
            self._send(404, "text/plain", b"there is no such page\n")
            return
        word = self.rfile.read(int(length)).decode("ascii", "replace").strip()
        if not word.isdecimal() or not 1 <= int(word) <= 1000:
            self._send(400, "text/plain", b"wanted a key duration from 1 to 1000\n")
            return
        self.live.set_key_duration(int(word))
        self._send(200, "text/plain", b"done\n")

    def _allowed(self) -> bool:
        """Whether a request is answered at all; says so where not."""
        if self.live.too_many(self.client_address[0]):
            self._send(429, "text/plain", b"too many requests\n")
            return False
        token = self.live.token
        if token is None:
            # a page of another site cannot reach this one by a name of its own
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            if not is_loopback(name):
                self._send(403, "text/plain", b"open this page by the address of this machine\n")
                return False
            return True
        given = parse_qs(urlsplit(self.path).query).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), token.encode()):
            self._send(403, "text/plain", b"the address of this page has a token: open that\n")
            return False
        return True

    def _still(self, source: int) -> None:
        found = self.live.jpeg_after(source, -1)
        if found is None:
            self._send(503, "text/plain", b"no picture yet\n")
        else:
            self._send(200, "image/jpeg", found[1])

    def _stream(self, source: int) -> None:
        if not self.live.clients.acquire(blocking=False):
            self._send(503, "text/plain", b"too many clients\n")
            return
        try:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self._safe_headers()
            self.end_headers()
            number = -1
            while not self.live.ended.is_set():
                found = self.live.jpeg_after(source, number)
                if found is None:
                    continue
                number, data = found
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
        except OSError:
            pass  # the client has gone
        finally:
            self.live.clients.release()

    def _send(self, code: int, kind: str, body: bytes) -> None:
        try:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self._safe_headers()
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass

    def _safe_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Frame-Options", "DENY")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: an address may have a token in it."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
