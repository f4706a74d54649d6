"""`LiveSource`: a thread that decodes a source, keeps its newest frame, and opens it again."""

import threading
import time
from collections import deque
from typing import Literal, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from dff.data.video.colours import picture_of
from dff.data.video.decoding import reason
from dff.inference.live.addresses import OPENING, READING, Address

Keep = Literal["newest", "all"]
State = Literal["connecting", "live", "lost", "ended"]

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a lost source is opened again; the last one from then on."""
QUEUE = 4
"""Frames that are decoded ahead where all are kept."""


class LiveFrame(NamedTuple):
    """A decoded frame.

    `picture`: (H, W, 3) uint8 RGB, upright. `number`: of the frames of this source that were
    decoded, from 0. `decoded`: clock (`time.monotonic`) when that was done. `place`: seconds from
    the start of a file; None of other sources. `opened`: how often the source had been opened by
    then: frames of another number are another recording.
    """

    picture: np.ndarray
    number: int
    decoded: float
    place: float | None = None
    opened: int = 1


class LiveSource:
    """Decodes every packet of a source, so that it never falls behind, in a thread of its own.

    Args:
        address: The source.
        keep: "newest": a frame that nobody has taken is replaced by the next one, and counted as
            dropped; "all": decoding waits until frames are taken.
        realtime: Whether frames of a file come at its own pace.

    Attributes:
        state: "connecting" until the first frame, "live", "lost" until it is opened again, "ended".
        said: Why it is lost or has ended, in words.
        decoded, dropped: How many frames there were, and how many of them nobody has taken.
        opened: How often it was opened.
    """

    def __init__(self, address: Address, keep: Keep = "newest", realtime: bool = False) -> None:
        self.address, self.keep, self.realtime = address, keep, realtime
        self.state: State = "connecting"
        self.said = ""
        self.decoded = self.dropped = self.opened = 0
        self._heard = 0.0  # clock when a frame came, or it was opened
        self._frames: deque[LiveFrame] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._reformatter = VideoReformatter()
        self._thread = threading.Thread(target=self._run, name=address.name, daemon=True)

    def start(self) -> "LiveSource":
        """Begins to decode."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends decoding; a source that hangs is left to end by itself."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(2.0)

    def take(self, timeout: float = 0.0) -> LiveFrame | None:
        """The next frame, waiting for it for some seconds; None where there is none by then."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self.finished, timeout)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def ready(self, timeout: float) -> bool:
        """Whether a frame is ready to be taken, waiting for it for some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self.finished, timeout)
            return bool(self._frames)

    @property
    def finished(self) -> bool:
        """Whether no frame will come any more."""
        return self.state == "ended" and not self._frames

    def _run(self) -> None:
        lost, said = 0, "it failed"
        try:
            while not self._stopped.is_set():
                before = self.decoded
                try:
                    self._decode()
                    said = "the source has ended"
                except (av.FFmpegError, OSError, EOFError, ValueError) as error:
                    said = self._why(error)
                if not self.address.endless:
                    break
                lost = 0 if self.decoded > before else lost + 1
                pause = PAUSES[min(lost, len(PAUSES) - 1)]
                self._tell("lost", f"{said}; it is opened again in {pause:g} s")
                self._stopped.wait(pause)
        finally:  # whatever it was: nobody waits for more
            self._tell("ended", "" if self._stopped.is_set() else said)

    def _why(self, error: Exception) -> str:
        """What FFmpeg says of an error; of silence, it says something else for each protocol."""
        silent = time.monotonic() - self._heard
        if self.address.kind == "stream" and silent > 0.9 * READING:
            return f"nothing has come for {silent:.0f} s"
        return reason(error)

    def _tell(self, state: State, said: str) -> None:
        with self._changed:
            self.state, self.said = state, said
            self._changed.notify_all()

    def _decode(self) -> None:
        self.opened += 1
        self._heard = time.monotonic()
        with av.open(
            self.address.source(),
            format=self.address.format,
            options=dict(self.address.options),
            timeout=(OPENING, READING) if self.address.kind == "stream" else None,
            metadata_errors="replace",
        ) as container:
            if not container.streams.video:
                raise ValueError("it has no pictures")
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"  # frame threads keep frames back
            started, first = time.monotonic(), None
            for frame in container.decode(stream):
                if self._stopped.is_set():
                    return
                if self.realtime and frame.time is not None:
                    first = frame.time if first is None else first
                    self._stopped.wait(max(0.0, started + frame.time - first - time.monotonic()))
                place = frame.time if self.address.kind == "file" else None
                self._put(picture_of(frame, self._reformatter), place)

    def _put(self, picture: np.ndarray, place: float | None) -> None:
        with self._changed:
            if self.keep == "newest":
                self.dropped += len(self._frames)
                self._frames.clear()
            else:
                self._changed.wait_for(lambda: len(self._frames) < QUEUE or self._stopped.is_set())
            self._frames.append(
                LiveFrame(picture, self.decoded, time.monotonic(), place, self.opened)
            )
            self.decoded += 1
            self.state, self.said = "live", ""
            self._heard = time.monotonic()
            self._changed.notify_all()
