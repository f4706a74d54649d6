"""How far the videos of a list are, whoever predicts them."""

import time
from collections.abc import Callable

from dff.inference.results.video_results import ErrorOutput

_SECONDS = 10.0
"""Between two lines."""


class Progress:
    """Says from time to time how many videos are done, how many an hour, and what is left.

    Args:
        left: Videos for which there is work.
        total: All of them, with those that are predicted.
        failed: Those of the rest that could not be.
        clock: Seconds.
        unit: What is counted.
    """

    def __init__(
        self,
        left: int,
        total: int,
        failed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        unit: str = "videos",
    ) -> None:
        self.left, self.total, self.failed, self.clock = left, total, failed, clock
        self.unit = unit
        self._began = clock()
        self._told = self._began

    def due(self) -> bool:
        """Whether it is time for another line."""
        return self.clock() - self._told >= _SECONDS

    def tell(self, done: int, failed: int) -> None:
        """Writes a line to standard error.

        Args:
            done: Of those that were left at the beginning, how many are predicted by now.
            failed: How many of those could not be.
        """
        self._told = self.clock()
        print(self.line(done, failed), file=ErrorOutput())

    def line(self, done: int, failed: int) -> str:
        """The words of `tell`."""
        seconds, settled = self.clock() - self._began, done + failed
        before = self.total - self.left - self.failed
        words = f"{before + done} of {self.total} {self.unit} are predicted"
        if self.failed + failed:
            words += f", {self.failed + failed} could not be"
        if settled and seconds > 0:
            words += f"; {3600 * settled / seconds:.0f} {self.unit} per hour"
            words += f", {_duration(seconds / settled * (self.left - settled))} left"
        return words


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{hours} h"
