"""How far the videos of a list are, whoever predicts them."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from dff.inference.cluster.failures import FAILED
from dff.inference.results.folders import ResultFolder
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


class SharedProgress:
    """Says how far all processes are that share a list, by what is in their folders.

    Args:
        progress: Of all of them.
        names: Of what was not done at the beginning -> that of its video, which it becomes a part
            of; its own where it is no segment.
        results: Where results are.
        records: Folder of the `FailureRecords`.
    """

    def __init__(
        self, progress: Progress, names: Mapping[str, str], results: ResultFolder, records: Path
    ) -> None:
        self.progress, self.names = progress, names
        self.results, self.records = results, records
        self._earlier = self._changes()

    def tell(self) -> None:
        """Writes a line, where it is time for that."""
        if not self.progress.due():
            return
        try:
            new = self._changes().items() - self._earlier.items()
        except OSError:  # a network that is down for a moment: the next line says it
            return
        files = {file for file, _ in new}
        failed = sum(f"{name}{FAILED}" in files for name in self.names)
        in_part = sum({f"{name}{FAILED}", f"{name}.json"} <= files for name in self.names)
        done = sum(
            f"{name}.json" in files or f"{video}.json" in files
            for name, video in self.names.items()
        )
        self.progress.tell(done - in_part, failed)

    def _changes(self) -> dict[str, object]:
        """File of a report or a record -> its stamp, of what was not done."""
        names = {*self.names, *self.names.values()}
        wanted = {f"{name}{suffix}" for name in names for suffix in (".json", FAILED)}
        found = {f"{name}.json": stamp for name, stamp in self.results.stamps().items()}
        with os.scandir(self.records) as entries:
            for entry in entries:
                if entry.name in wanted:
                    with suppress(OSError):  # it has gone
                        found[entry.name] = entry.stat().st_mtime_ns
        return {file: stamp for file, stamp in found.items() if file in wanted}


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{hours} h"
