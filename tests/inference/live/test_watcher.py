"""Key frames in line and beside: the same results as those of a key frame that came later."""

from concurrent.futures import Future

import numpy as np
import pytest
import torch
from networks import small_model

from dff.data.transforms.unit_range import to_unit_range
from dff.inference.deploy.deployment import deploy
from dff.inference.key_frame import KeyFrame
from dff.inference.live.watcher import Seen, Watcher, see_together
from dff.inference.model import Model
from dff.inference.recognizer import recognize
from dff.inference.tasks.segmentation import Segmentation
from dff.models import build
from dff.models.schedule import FixedSchedule
from dff.models.schedules.adaptive import AdaptiveSchedule
from dff.models.schedules.needs import Change


class Later:
    """An executor whose work is done when somebody says so."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, *arguments):
        future = Future()
        self.waiting.append((future, function, arguments))
        return future

    def finish(self):
        for future, function, arguments in self.waiting:
            future.set_result(function(*arguments))
        self.waiting = []


def pictures(count, size=(64, 96)):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (8, 40, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    return [wide[: size[0], 5 * i : 5 * i + size[1]] for i in range(count)]


@pytest.fixture
def model():
    return Model(small_model().eval(), {"segmentation": Segmentation(5)})


def frame(picture):
    return to_unit_range(torch.from_numpy(picture.copy()).permute(2, 0, 1).unsqueeze(0))


@torch.inference_mode()
def late(model, key, current):
    shown = frame(key)
    made = KeyFrame(shown, model.networks.encode(shown))
    return recognize(model.networks, made, frame(current))["segmentation"]


def test_in_line_it_is_the_schedule_of_a_stream(model):
    shown = pictures(7)
    watcher = Watcher(model, FixedSchedule(3))
    seen = [watcher.see(picture) for picture in shown]
    assert [s.is_key for s in seen] == [True, False, False, True, False, False, True]
    assert [s.age for s in seen] == [0, 1, 2, 0, 1, 2, 0]
    streamed = list(model.stream(shown, 3))
    for mine, theirs in zip(seen, streamed, strict=True):
        np.testing.assert_array_equal(
            mine.predictions["segmentation"][0].numpy(), theirs["segmentation"].labels
        )


def test_beside_frames_go_on_from_the_old_key_frame_until_the_new_one_is_done(model):
    shown, later = pictures(9), Later()
    watcher = Watcher(model, FixedSchedule(3), beside=later)
    seen = []
    for number, picture in enumerate(shown):
        seen.append(watcher.see(picture))
        if number == 5:  # the key frame of frame 3 has taken two frames
            later.finish()
    assert [s.is_key for s in seen] == [True, False, False, True, False, False, True, False, False]
    assert [s.age for s in seen] == [0, 1, 2, 3, 4, 5, 3, 4, 5]
    for number, key in ((4, 0), (5, 0), (6, 3), (8, 3)):
        torch.testing.assert_close(
            seen[number].predictions["segmentation"], late(model, shown[key], shown[number])
        )


def test_one_key_frame_is_on_its_way_at_a_time(model):
    later = Later()
    watcher = Watcher(model, FixedSchedule(2), beside=later)
    for picture in pictures(8):
        watcher.see(picture)
    assert len(later.waiting) == 1


def test_another_size_begins_anew(model):
    watcher = Watcher(model, FixedSchedule(9))
    sizes = [(64, 96), (64, 96), (96, 128), (96, 128)]
    found = [watcher.see(np.zeros((*size, 3), np.uint8)) for size in sizes]
    assert [s.is_key for s in found] == [True, False, True, False]
    assert found[2].predictions["segmentation"].shape == (1, 96, 128)


def test_a_schedule_that_looks_at_flow_cannot_be_asked_beside(model):
    with pytest.raises(ValueError, match="leave --async_keys out"):
        Watcher(model, AdaptiveSchedule(Change(), 0.1), beside=Later())


def same(model, turns, pictures_of, durations=(2, 3, 4, 3)):
    """Whether features of sources together are those of each alone."""
    model.networks.predict = lambda features, *sizes: {"segmentation": features}
    alone, joined = ([Watcher(model, FixedSchedule(d)) for d in durations] for _ in range(2))
    for number, turn in enumerate(turns):
        frames = [pictures_of(i)[number] for i in turn]
        found = dict(see_together([joined[i] for i in turn], frames))
        for row, i in enumerate(turn):
            one = alone[i].see(frames[row])
            assert (found[row].is_key, found[row].age) == (one.is_key, one.age)
            torch.testing.assert_close(
                found[row].predictions, one.predictions, atol=1e-4, rtol=1e-4
            )


def test_several_sources_at_once_give_what_each_gives_alone(model):
    """Of two sizes, at different frames of their intervals, and some not ready each time."""
    shown, larger = pictures(12), pictures(12, (96, 128))
    turns = [[0, 1, 2, 3], [0, 1, 2, 3], [1, 2], [0, 3], [0, 1, 2], [2], [0, 1, 2, 3], [0, 2, 3]]
    same(model, turns, lambda i: larger if i == 3 else shown[i:])


@pytest.mark.parametrize("flow", ["flownet_inception", "light", "dis_fast"])
def test_each_kind_of_flow_takes_several_sources_at_once(flow, model):
    model.networks.use_flow(build.flow_network(flow).eval())
    same(model, [[0, 1, 2]] * 5, lambda i: pictures(8)[i:])


@pytest.mark.parametrize("how", ["chain", "warm"])
def test_flow_from_the_frame_before_takes_several_sources_at_once(how, model):
    model.networks.flow_from = how
    same(
        model,
        [[0, 1, 2], [0, 1, 2], [1, 2], [0, 1], [0, 1, 2], [0, 1, 2]],
        lambda i: pictures(9)[i:],
    )


def test_a_deployed_model_takes_several_sources_at_once(model):
    model.networks = deploy(model.networks)
    same(model, [[0, 1, 2]] * 5, lambda i: pictures(8)[i:])


def test_no_frame_waits_for_the_key_frame_of_another_source(model):
    watchers = [Watcher(model, FixedSchedule(9)) for _ in range(3)]
    list(see_together(watchers[1:], pictures(2)))
    assert [i for i, _ in see_together(watchers, pictures(3))] == [1, 2, 0]


def test_what_cannot_be_recognised_is_told_of_its_own_source(model):
    watchers = [Watcher(model, FixedSchedule(9)) for _ in range(4)]
    for _ in range(2):  # a flow network wants 64 pixels
        small = [np.zeros((32, 48, 3), np.uint8)] * 2
        found = dict(see_together(watchers, [*small, *pictures(2)]))
    assert all("64" in str(found[i]) and isinstance(found[i], ValueError) for i in (0, 1))
    assert isinstance(found[2], Seen) and isinstance(found[3], Seen)
    with torch.inference_mode():
        watchers[2]._key.features.fill_(float("nan"))
    found = dict(see_together(watchers[2:], pictures(2)))
    assert "NaN" in str(found[0]) and isinstance(found[1], Seen)


def test_a_schedule_that_looks_at_flow_goes_on_alone(model):
    watchers = [Watcher(model, AdaptiveSchedule(Change(), 0.1)), Watcher(model, FixedSchedule(3))]
    assert [watcher.joins for watcher in watchers] == [False, True]
    alone = Watcher(model, AdaptiveSchedule(Change(), 0.1))
    for picture in pictures(6):
        found = dict(see_together(watchers, [picture, picture]))
        one = alone.see(picture)
        assert found[0].is_key == one.is_key
        torch.testing.assert_close(found[0].predictions, one.predictions)
