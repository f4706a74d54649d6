"""Whether the networks reached the frames per second that were asked of them."""

from dff.inference.engine import Result, Sink

_FEW = 50
"""Frames below which a video is too short to judge by."""


class RateWatch:
    """A sink in front of another one, which counts frames and the time that they took.

    Args:
        sink: Takes the results.
        wanted: Frames per second.

    `told`: a sentence for each video that stayed below by more than 5 %.
    """

    def __init__(self, sink: Sink, wanted: float) -> None:
        self._sink, self.wanted = sink, wanted
        self.told: list[str] = []
        self._frames, self._keys, self._seconds = 0, 0, 0.0

    def put(self, result: Result) -> None:
        """Counts a clip, and hands it on."""
        if result.clip.start == 0:
            self._frames, self._keys, self._seconds = 0, 0, 0.0
        self._frames += len(result.key_frames)
        self._keys += sum(result.key_frames)
        self._seconds += result.seconds
        if result.clip.last and self._frames >= _FEW and self._seconds > 0:
            rate = self._frames / self._seconds
            if rate < 0.95 * self.wanted:
                self.told.append(
                    f"{result.clip.video.name}: {rate:.1f} frames per second with {self._keys} key "
                    f"frames in {self._frames}, and {self.wanted:g} were asked for: the frames "
                    "between key frames are too slow for it; take a faster flow with "
                    "--flow_network, smaller frames with --short_side, or a lower rate"
                )
        self._sink.put(result)

    def finish(self) -> None:
        """See `Sink`."""
        self._sink.finish()

    def cancel(self) -> None:
        """See `Sink`."""
        self._sink.cancel()
