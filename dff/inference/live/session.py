"""Live sources through one model, until they end or somebody says so."""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dff.inference.live.figures import Figures
from dff.inference.live.server import LivePage
from dff.inference.live.sinks import LiveResult, LiveSink, with_words
from dff.inference.live.source import LiveFrame, LiveSource
from dff.inference.live.watcher import Seen, Watcher, see_together
from dff.inference.results.drawing import draw_predictions, mark_key_frames
from dff.models.contracts import Task
from dff.models.schedule import Schedule

IDLE = 0.2
"""Seconds after which it is looked whether to end, where no frame comes."""
STILL = 1.0
"""Seconds between two still pictures of a source that is lost."""


class LiveSession:
    """Takes the newest frame of each source, and hands its results to all sinks.

    On a GPU, frames of several sources that are ready at once go through the model together; no
    source waits for another one's frames.

    Args:
        sources: Started by `run`.
        watchers: One for each source, of one model.
        tasks: Of the model.
        sinks: Of each source.
        make_schedule: Key duration -> schedule, for a slider.
        key_duration: At the beginning.
        threshold: Results with a lower score are not drawn.

    Attributes:
        at_once: Most frames that go through the model together.
        refused: Frames of each source that the model did not take.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        watchers: Sequence[Watcher],
        tasks: dict[str, Task],
        sinks: Sequence[Sequence[LiveSink]],
        make_schedule: Callable[[int], Schedule],
        key_duration: int,
        threshold: float = 0.5,
    ) -> None:
        self.sources, self.watchers, self.tasks = list(sources), list(watchers), tasks
        self.sinks, self.make_schedule = [list(own) for own in sinks], make_schedule
        self.key_duration, self.threshold = key_duration, threshold
        self.figures_of = [Figures() for _ in self.sources]
        # a CPU takes as long for two at once as for one after the other, and both wait for that
        self.at_once = 1 if watchers[0].model.device.type == "cpu" else len(sources)
        self.page: LivePage | None = None
        self.ended = threading.Event()
        self.refused = [0] * len(self.sources)
        self._pictures: list[np.ndarray | None] = [None] * len(self.sources)
        self._told = [""] * len(self.sources)
        self._still = [0.0] * len(self.sources)
        self._opened = [0] * len(self.sources)
        self._started = time.monotonic()

    def set_key_duration(self, duration: int) -> None:
        """Takes another key duration from the next frame on."""
        schedule = self.make_schedule(duration)
        self.key_duration = duration
        for watcher in self.watchers:
            watcher.schedule = schedule

    def figures(self) -> dict[str, Any]:
        """What the page shows; see `Figures`."""
        sources = []
        for source, figures in zip(self.sources, self.figures_of, strict=True):
            told = {"name": source.address.name, "state": source.state, "said": source.said}
            sources.append({**told, "dropped": source.dropped, **figures.as_dict()})
        return {"key_duration": self.key_duration, "sources": sources}

    def run(self, seconds: float | None = None) -> None:
        """Recognises until all sources have ended, `ended` is set, or some seconds are over.

        All sinks are closed in the end, whatever ended it.
        """
        self._started = time.monotonic()
        try:
            for source in self.sources:
                source.start()
            while not self.ended.is_set() and not all(s.finished for s in self.sources):
                if seconds is not None and time.monotonic() - self._started >= seconds:
                    break
                if not any([self._round(some) for some in self._at_once()]):
                    self._wait()
        finally:
            for source in self.sources:
                source.stop()
            for own in self.sinks:
                for sink in own:
                    sink.close()

    def _wait(self) -> None:
        """Until a frame comes: of an only source without a delay."""
        live = [source for source in self.sources if not source.finished]
        if len(live) != 1 or not live[0].ready(IDLE):
            self.ended.wait(0.002 if len(live) > 1 else 0.0)

    def _at_once(self) -> list[list[int]]:
        """The sources by whose frames may go through the networks at once."""
        by_size: dict[object, list[int]] = {}
        for i, watcher in enumerate(self.watchers):
            by_size.setdefault(watcher.size if watcher.joins else i, []).append(i)
        return list(by_size.values())

    def _round(self, some: Sequence[int]) -> bool:
        """Recognises a frame of each of some sources, where it is ready; whether one was."""
        waiting, found = list(some), False
        while waiting:
            taken: dict[int, LiveFrame] = {}
            while waiting and len(taken) < self.at_once:
                frame = self._take(i := waiting.pop(0))
                if frame is not None:
                    taken[i] = frame
            found = found or bool(taken)
            self._see(taken)
        return found

    def _take(self, i: int) -> LiveFrame | None:
        frame = self.sources[i].take()
        if frame is None:
            self._say(i)
        elif frame.opened != self._opened[i]:  # another recording
            self._opened[i] = frame.opened
            self.watchers[i].reset()
        return frame

    def _see(self, taken: Mapping[int, LiveFrame]) -> None:
        numbers, frames = list(taken), list(taken.values())
        watchers = [self.watchers[i] for i in numbers]
        for row, seen in see_together(watchers, [frame.picture for frame in frames]):
            i = numbers[row]
            if isinstance(seen, Seen):
                self._hand_on(i, frames[row], seen)
                continue
            self.refused[i] += 1
            if str(seen) != self._told[i]:
                self._told[i] = str(seen)
                print(f"warning: {self.sources[i].address.name}: {seen}", file=sys.stderr)

    def _hand_on(self, i: int, frame: LiveFrame, seen: Seen) -> None:
        source = self.sources[i]
        now = time.monotonic()
        latency = now - frame.decoded
        self.figures_of[i].count(latency, seen.is_key, source.decoded)
        found = {name: task.summary(seen.predictions[name][0]) for name, task in self.tasks.items()}
        picture = frame.picture
        if self.page is not None or any(sink.draws for sink in self.sinks[i]):
            shown = torch.from_numpy(frame.picture).permute(2, 0, 1).unsqueeze(0)
            drawn = draw_predictions(shown, seen.predictions, self.tasks, self.threshold).numpy()
            mark_key_frames(drawn, [seen.is_key])
            picture = self._pictures[i] = drawn[0]
        result = LiveResult(
            source.address.name,
            frame.number,
            time.time(),
            frame.decoded - self._started if frame.place is None else frame.place,
            latency,
            seen.is_key,
            found,
            picture,
        )
        for sink in self.sinks[i]:
            sink.put(result)
        if self.page is not None:
            self.page.show(i, picture)
        self._told[i] = ""

    def _say(self, i: int) -> None:
        """Tells once that a source is lost, and shows it as a still picture."""
        source = self.sources[i]
        if source.state != "lost" or not source.said:
            return
        if source.said != self._told[i]:
            self._told[i] = source.said
            print(f"warning: {source.address.name}: {source.said}", file=sys.stderr)
        before = self._pictures[i]
        if self.page is not None and before is not None and time.monotonic() > self._still[i]:
            self._still[i] = time.monotonic() + STILL
            self.page.show(i, with_words(before, source.said))
