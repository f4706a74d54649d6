"""A small session, what it hands on, and waiting for what threads do."""

import time

import numpy as np
from networks import small_model

from dff.inference.live.session import LiveSession
from dff.inference.live.sinks import LiveResult
from dff.inference.live.watcher import Watcher
from dff.inference.model import Model
from dff.inference.tasks.segmentation import Segmentation
from dff.models.schedule import FixedSchedule


class Kept:
    draws = False

    def __init__(self):
        self.results, self.closed = [], 0

    def put(self, result):
        self.results.append(result)

    def close(self):
        self.closed += 1


def session_of(sources, sinks, duration=4):
    model = Model(small_model().eval(), {"segmentation": Segmentation(5)})
    watchers = [Watcher(model, FixedSchedule(duration)) for _ in sources]
    return LiveSession(sources, watchers, model.tasks, sinks, FixedSchedule, duration)


def result(number=0, picture=None):
    shown = np.zeros((64, 96, 3), np.uint8) if picture is None else picture
    return LiveResult("a", number, 1.0, number / 25, 0.01, number == 0, {"boxes": []}, shown)


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it has not come"
        time.sleep(0.01)
