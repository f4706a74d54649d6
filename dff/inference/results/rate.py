"""Whether the networks reached the frames per second that were asked of them."""

from dff.inference.engine import Result, Sink

_FEW = 50
"""Frames below which a video is too short to judge by."""


def shortfall(
    name: str,
    frames: int,
    key_frames: int,
    seconds: float,
    wanted: float,
    smaller: str = "--short_side",
) -> str | None:
    """A sentence where the networks stayed below a rate by more than 5 %.

    Args:
        name: Of the video.
        frames: How many were recognised.
        key_frames: How many of them are key frames.
        seconds: What they took.
        wanted: Frames per second.
        smaller: The option that makes frames smaller.
    """
    if frames < _FEW or not frames < 0.95 * wanted * seconds:
        return None
    return (
        f"{name}: {frames / seconds:.1f} frames per second with {key_frames} key frames in "
        f"{frames}, and {wanted:g} were asked for: the frames between key frames are too slow for "
        f"it; take a faster flow with --flow_network, smaller frames with {smaller}, or a lower "
        "rate"
    )


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
        if result.clip.first:
            self._frames, self._keys, self._seconds = 0, 0, 0.0
        self._frames += len(result.key_frames)
        self._keys += sum(result.key_frames)
        self._seconds += result.seconds
        if result.clip.last:
            name, counted = result.clip.video.name, (self._frames, self._keys, self._seconds)
            if told := shortfall(name, *counted, self.wanted):
                self.told.append(told)
        self._sink.put(result)

    def finish(self) -> None:
        """See `Sink`."""
        self._sink.finish()

    def cancel(self) -> None:
        """See `Sink`."""
        self._sink.cancel()
