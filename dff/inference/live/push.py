"""`PushSink`: a live source sent on to a server."""

import queue
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np

from dff.data.video.decoding import reason
from dff.data.video.writer import same_scheduling
from dff.inference.live.addresses import masked
from dff.inference.live.sinks import LiveResult, at_size

OPENING = 5.0
"""Seconds for a server to answer, and until it is asked again where it has not."""
WAITING = 25
"""Pictures that wait for a slow server; further ones are dropped."""


class PushSink:
    """Sends a source to a server, as RTSP or RTMP; opened again where that is lost.

    A thread of its own encodes and sends, so that no source waits for a server that hangs.

    Args:
        address: rtsp://... or rtmp://...
        fps: Its rate.

    Attributes:
        dropped: Pictures that the server has not got.

    Raises:
        ValueError: It is another kind of address.
    """

    draws = True

    def __init__(self, address: str, fps: float = 25.0) -> None:
        formats = {"rtsp": "rtsp", "rtmp": "flv"}
        scheme, mark, _ = address.partition("://")
        scheme = scheme.lower()
        if scheme not in formats or not mark:
            named = masked(address) if mark else address
            raise ValueError(f"--push {named}: wanted an rtsp:// or rtmp:// address")
        self.address, self.fps, self.format = address, fps, formats[scheme]
        self.name = masked(address)
        if scheme == "rtmp":  # what stands last is the key that lets anybody broadcast
            self.name = f"{self.name.rpartition('/')[0]}/***"
        self.dropped = 0
        self._waiting: queue.Queue[tuple[float, np.ndarray] | None] = queue.Queue(WAITING)
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)
        self._started = self._retry = 0.0
        self._last = -1
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)
        self._thread.start()

    def put(self, result: LiveResult) -> None:
        """See `LiveSink`."""
        try:
            self._waiting.put_nowait((time.monotonic(), result.picture))
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Sends what waits, for as long as it takes a server to answer at most."""
        try:
            self._waiting.put(None, timeout=OPENING)
        except queue.Full:
            return
        self._thread.join(OPENING)

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            try:
                self._send(*waiting)
            except (av.FFmpegError, OSError, ValueError) as error:
                print(
                    f"warning: {self.name} takes no frames ({reason(error)}); tried "
                    f"again in {OPENING:g} s",
                    file=sys.stderr,
                )
                self._drop()
                self.dropped += 1
                self._retry = time.monotonic() + OPENING
        try:
            if self._container is not None:
                self._container.mux(self._stream.encode(None))
        except (av.FFmpegError, OSError):
            pass
        self._drop()

    def _send(self, seen: float, picture: np.ndarray) -> None:
        if self._container is None:
            if time.monotonic() < self._retry:
                self.dropped += 1
                return
            self._open(picture)
            self._started, self._last = seen, -1
        frame = av.VideoFrame.from_ndarray(at_size(picture, self._size), format="rgb24")
        # two pictures of one time would not be taken
        self._last = frame.pts = max(round((seen - self._started) * 1000), self._last + 1)
        frame.time_base = Fraction(1, 1000)
        self._container.mux(self._stream.encode(frame))

    def _open(self, picture: np.ndarray) -> None:
        options = {"rtsp_transport": "tcp"} if self.format == "rtsp" else {}
        self._container = av.open(
            self.address, "w", format=self.format, options=options, timeout=OPENING
        )
        height, width = picture.shape[:2]
        self._size = height - height % 2, width - width % 2
        fast = {"preset": "ultrafast", "tune": "zerolatency"}
        self._stream = self._container.add_stream("libx264", rate=round(self.fps), options=fast)
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, 1000)
        with same_scheduling():
            self._container.start_encoding()

    def _drop(self) -> None:
        container, self._container, self._stream = self._container, None, None
        if container is not None:
            try:
                container.close()
            except (av.FFmpegError, OSError):
                pass
