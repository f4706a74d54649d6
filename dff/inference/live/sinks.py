"""Where live results go: JSON lines, a video file; see `push` for another stream."""

import json
import os
import queue
import sys
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from dff.data.files.json_values import nan_to_none
from dff.data.video.writer import VideoWriter
from dff.inference.live.addresses import Address, masked

WAITING = 200
"""Lines that wait for a slow receiver; older ones are dropped beyond that."""


class LiveResult(NamedTuple):
    """What was found on a frame of a live source.

    `source`: its name. `number`: of the frame. `time`: clock of the day, in seconds. `seconds`: of
    the session at its decoding, of a file its place there. `latency`: seconds from decoding to
    result. `is_key`: whether it became a key frame. `found`: head -> summary, see `Task.summary`.
    `picture`: with everything drawn on it, (H, W, 3) uint8 RGB.
    """

    source: str
    number: int
    time: float
    seconds: float
    latency: float
    is_key: bool
    found: Mapping[str, Any]
    picture: np.ndarray


class LiveSink(Protocol):
    """Takes results as they come, and is closed once, whatever happened.

    `draws`: whether it looks at their pictures.
    """

    draws: bool

    def put(self, result: LiveResult) -> None:
        """Takes a result; must not wait for anybody."""

    def close(self) -> None:
        """Finishes what was begun."""


class JsonLines:
    """A line of JSON for each frame, on standard output or posted to an address.

    Args:
        target: "-", or an http or https address.
    """

    draws = False

    def __init__(self, target: str) -> None:
        self.target = target
        self.dropped = 0
        self._lines: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        if target != "-":
            if not target.startswith(("http://", "https://")):
                raise ValueError(
                    f"--json {target}: wanted - for standard output, or an http address to post to"
                )
            self._thread = threading.Thread(target=self._post, name="json", daemon=True)
            self._thread.start()

    def put(self, result: LiveResult) -> None:
        """See `LiveSink`."""
        content = {
            "source": result.source,
            "frame": result.number,
            "time": round(result.time, 3),
            "seconds": round(result.seconds, 3),
            "latency": round(result.latency, 4),
            "key_frame": result.is_key,
            **result.found,
        }
        line = json.dumps(nan_to_none(content))
        if self._thread is None:
            print(line, flush=True)
            return
        try:
            self._lines.put_nowait(line.encode() + b"\n")
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """See `LiveSink`."""
        if self._thread is not None:
            try:
                self._lines.put(None, timeout=2.0)
            except queue.Full:
                return
            self._thread.join(5.0)

    def _post(self) -> None:
        told = False
        while (line := self._lines.get()) is not None:
            kind = {"Content-Type": "application/x-ndjson"}
            request = urllib.request.Request(self.target, line, kind, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=5.0):
                    told = False
            except (OSError, ValueError) as error:
                self.dropped += 1
                if not told:
                    words = f"warning: {masked(self.target)} takes no results ({error}); go on"
                    print(words, file=sys.stderr)
                    told = True


def check_files(files: Sequence[Path], sources: Sequence[Address]) -> None:
    """Refuses files that would take the place of a source, or of each other.

    Raises:
        ValueError: They do.
    """
    read = {os.path.realpath(a.url.removeprefix("file:")) for a in sources if a.kind == "file"}
    taken: set[str] = set()
    for file in files:
        place = os.path.realpath(file)
        if place in read:
            raise ValueError(f"--output {file}: that is a source; give another name")
        if place in taken:
            raise ValueError(f"--output {file} twice: wanted a file of its own for each source")
        taken.add(place)


class VideoSink:
    """A video file of one source, each frame at its time; of the size of its first frame.

    Args:
        file: The MP4 file.
        fps: Its usual rate.
    """

    draws = True

    def __init__(self, file: Path, fps: float = 25.0) -> None:
        self.file, self.fps = file, fps
        self._writer: VideoWriter | None = None
        self._last = -1.0

    def put(self, result: LiveResult) -> None:
        """See `LiveSink`."""
        if self._writer is None:
            self._writer = VideoWriter(self.file, self.fps, result.picture.shape[:2])
        self._last = max(result.seconds, self._last + 1e-3)
        self._writer.write(at_size(result.picture, self._writer.size), self._last)

    def close(self) -> None:
        """See `LiveSink`."""
        if self._writer is not None:
            self._writer.close()


def at_size(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture at another height and width; itself where it has them."""
    if picture.shape[:2] == size:
        return picture
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)


def with_words(picture: np.ndarray, words: str) -> np.ndarray:
    """A darkened picture with a sentence on it, for while nothing comes."""
    shown = picture // 3
    scale = max(0.4, picture.shape[1] / 1200)
    place = (int(20 * scale), picture.shape[0] // 2)
    cv2.putText(shown, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1)
    return shown
