"""The stages of a demo, one after the other, behind one line that says how far all of them are."""

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

SECONDS_BETWEEN_LINES = 20.0
"""Where the output is no terminal, whose line is written anew each second."""
LAST_LINES = 30
"""Of the log, which are shown where a stage fails."""


class Stage(NamedTuple):
    """One command of a demo.

    `title`: in words. `share`: of the time of the whole demo, about. `words`: of the command, after
    the interpreter. `done`: how far it is, 0 to 1, where that can be told.
    """

    title: str
    share: float
    words: Sequence[str]
    done: Callable[[], float] = lambda: 0.0


class Stages:
    """Runs stages, and says how far they are and how long the rest takes.

    Args:
        stages: In their order.
        log: File for what the commands say.
    """

    def __init__(self, stages: Sequence[Stage], log: Path) -> None:
        self.stages, self.log = stages, log
        self.started = time.perf_counter()
        self._last = -SECONDS_BETWEEN_LINES
        self._on_terminal = sys.stdout.isatty()

    def run(self) -> None:
        """Runs all of them; ends the process where one fails, with its exit code."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        whole, before = sum(stage.share for stage in self.stages), 0.0
        for number, stage in enumerate(self.stages, 1):
            with self.log.open("a") as log:
                log.write(f"\n$ {' '.join(stage.words)}\n")
                log.flush()
                self._tell(number, stage, before / whole, new=True)
                code = self._wait(number, stage, before, whole, log)
            if code:
                self._fail(stage, code)
            before += stage.share
        self._end_line()

    def _wait(self, number: int, stage: Stage, before: float, whole: float, log: IO[str]) -> int:
        process = subprocess.Popen(
            [sys.executable, *stage.words], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while True:
                try:
                    return process.wait(1.0)
                except subprocess.TimeoutExpired:
                    done = min(max(stage.done(), 0.0), 1.0)
                    self._tell(number, stage, (before + done * stage.share) / whole)
        except BaseException:
            # Ctrl-C reaches it as well; what does not end by itself is ended
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            self._end_line()
            raise

    def _tell(self, number: int, stage: Stage, share: float, new: bool = False) -> None:
        passed = time.perf_counter() - self.started
        due = self._on_terminal or passed - self._last >= SECONDS_BETWEEN_LINES
        if not (new or due):
            return
        self._last = passed
        left = ""
        if share > 0.02:
            left = f", about {max(passed * (1 - share) / share / 60, 0.1):.1f} minutes left"
        words = (
            f"{share:4.0%} of the demo after {passed / 60:.1f} minutes{left}; "
            f"stage {number} of {len(self.stages)}: {stage.title}"
        )
        if self._on_terminal:
            print(f"\r\x1b[K{words}", end="", flush=True)
        else:
            print(words, flush=True)

    def _end_line(self) -> None:
        if self._on_terminal:
            print(flush=True)

    def _fail(self, stage: Stage, code: int) -> None:
        self._end_line()
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        print("\n".join(lines), file=sys.stderr)
        print(f"{stage.title} failed; all that was said is in {self.log}", file=sys.stderr)
        sys.exit(code if code > 0 else 1)


def steps_done(run: Path, steps: int) -> Callable[[], float]:
    """How far a training is, by the metrics that it writes.

    Args:
        run: Folder of its runs.
        steps: That it has.
    """

    def share() -> float:
        files = sorted(run.glob("version_*/metrics.csv"))
        if not files:
            return 0.0
        with files[-1].open(newline="") as file:
            numbers = [row.get("step") or "0" for row in csv.DictReader(file)]
        return float(numbers[-1]) / steps if numbers and numbers[-1].isdigit() else 0.0

    return share
