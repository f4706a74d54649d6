"""How a live stream goes: rates, latencies, dropped frames, and where key frames were."""

import threading
import time
from collections import deque
from typing import Any

import numpy as np

SECONDS = 10.0
"""That rates are counted over."""
RECENT = 500
"""Frames of the latencies and of the timeline."""


class Figures:
    """Figures of one source, counted in one thread and read in others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._out: deque[float] = deque()
        self._latencies: deque[float] = deque(maxlen=RECENT)
        self._keys: deque[bool] = deque(maxlen=RECENT)
        self._coming: deque[tuple[float, int]] = deque()
        self.frames = 0

    def count(self, latency: float, is_key: bool, decoded: int) -> None:
        """Counts a frame that was recognised.

        Args:
            latency: Seconds from its decoding to its result.
            is_key: Whether it became a key frame.
            decoded: How many frames the source has had.
        """
        now = time.monotonic()
        with self._lock:
            self.frames += 1
            self._out.append(now)
            self._latencies.append(latency)
            self._keys.append(is_key)
            self._coming.append((now, decoded))
            while self._out[0] < now - SECONDS:
                self._out.popleft()
            while self._coming[0][0] < now - SECONDS:
                self._coming.popleft()

    def as_dict(self) -> dict[str, Any]:
        """Frames per second in and out, latencies in milliseconds, and the last key frames."""
        with self._lock:
            latencies = 1000 * np.array(self._latencies or [0.0])
            out, coming = list(self._out), list(self._coming)
            keys, frames = list(self._keys), self.frames
        span = max(out[-1] - out[0], 1e-9) if len(out) > 1 else 0.0
        p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).round(1).tolist()
        return {
            "frames": frames,
            "fps_out": round((len(out) - 1) / span, 1) if span else 0.0,
            "fps_in": round((coming[-1][1] - coming[0][1]) / span, 1) if span else 0.0,
            "latency_p50": p50,
            "latency_p95": p95,
            "latency_p99": p99,
            "latency_max": round(float(latencies.max()), 1),
            "keys": "".join("1" if key else "0" for key in keys),
        }
