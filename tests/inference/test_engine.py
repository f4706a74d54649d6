"""The engine: what the schedule is asked, and results as values."""

import numpy as np
import pytest
import torch
from networks import SIZE, frames, small_model

from dff.data.video.clips import Clip
from dff.data.video.sources import VideoInput, find_videos
from dff.data.video.writer import VideoWriter
from dff.inference.engine import Engine, predict_videos, read_clips
from dff.inference.recognizer import recognize_frames, stream
from dff.models.build import flow_network
from dff.models.dff import DeepFeatureFlow
from dff.models.schedule import FixedSchedule


@pytest.fixture(scope="module")
def model():
    return small_model().eval()


@pytest.fixture(scope="module")
def video():
    return frames(9, seed=3)


class Recorded:
    """A second schedule: key frames where it is told, and what it was shown."""

    def __init__(self, keys, *wants):
        self.keys, self.wants, self.shown = set(keys), frozenset(wants), []

    def is_key(self, evidence):
        self.shown.append(evidence)
        return evidence.index in self.keys


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("wants", [(), ("frame",), ("flow",), ("difference", "confidence")])
@torch.inference_mode()
def test_a_schedule_decides_frame_by_frame_whatever_it_looks_at(wants, model, video):
    schedule = Recorded({0, 2, 3, 7}, *wants)
    found = recognize_frames(model, video, schedule)
    assert [i for i, key in enumerate(found.key_frames) if key] == [0, 2, 3, 7]
    by_index = {evidence.index: evidence for evidence in schedule.shown}
    assert [by_index[i].since_key for i in (1, 2, 3, 4, 6, 8)] == [1, 2, 1, 1, 3, 1]
    fixed = torch.cat([p["segmentation"] for p in stream(model, video.split(1), schedule)])
    assert (found.predictions["segmentation"] == fixed).float().mean() > 0.9999
    late = by_index[5]
    assert (late.frame is not None) == ("frame" in wants)
    assert (late.flow is not None) == ("flow" in wants)
    assert (late.difference is not None) == (late.confidence is not None)
    assert (late.difference is not None) == ("difference" in wants)


@torch.inference_mode()
def test_the_evidence_is_that_of_the_frame_and_the_last_key_frame(model, video):
    schedule = Recorded({0, 4}, "frame", "flow", "difference", "confidence")
    recognize_frames(model, video, schedule)
    seen = {evidence.index: evidence for evidence in schedule.shown}[6]
    assert torch.equal(seen.frame, video[6:7]) and torch.equal(seen.key_frame, video[4:5])
    flow = model.find_flow(video[4:5], video[6:7]).field
    torch.testing.assert_close(seen.flow, flow, atol=1e-4, rtol=1e-4)
    assert 0 < seen.difference < 1 and 0 < seen.confidence <= 1


@torch.inference_mode()
def test_a_still_picture_differs_by_nothing(model, video):
    model = small_model().eval()
    model.use_flow(flow_network("zero"))
    schedule = Recorded(set(), "difference")
    recognize_frames(model, video[:1].repeat(3, 1, 1, 1), schedule)
    assert [evidence.difference for evidence in schedule.shown] == pytest.approx([0, 0], abs=1e-7)


@torch.inference_mode()
def test_the_first_frame_is_a_key_frame_whatever_the_schedule_says(model, video):
    for wants in ((), ("flow",)):
        assert recognize_frames(model, video[:2], Recorded((), *wants)).key_frames == [True, False]


@torch.inference_mode()
def test_a_confidence_that_no_head_can_tell_is_refused(model, video):
    class Plain(torch.nn.Module):
        def predict(self, features, size, frame):
            return features

    heads = {"plain": Plain()}
    model = DeepFeatureFlow(model.feature_network, model.flow_network, heads)
    with pytest.raises(ValueError, match="wants a confidence, and the heads plain have no method"):
        recognize_frames(model, video, Recorded((), "confidence"))


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        with VideoWriter(tmp_path / f"{name}.mp4", 10, SIZE) as writer:
            for _ in range(7):
                patches = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
                writer.write(patches.repeat(16, 0).repeat(16, 1))
    return find_videos([tmp_path])


@pytest.mark.parametrize("wants", [(), ("frame",), ("flow",)])
def test_videos_do_not_mix_and_each_begins_with_a_key_frame(wants, model, files):
    schedule = Recorded({3}, *wants)
    results = list(Engine(model, schedule).run(read_clips(files, schedule)))
    for video in files:
        own = [result for result in results if result.clip.video == video]
        keys = [key for result in own for key in result.key_frames]
        assert keys == [True, False, False, True, False, False, False]
        assert [r.clip.last for r in own] == [False] * (len(own) - 1) + [True]
        assert sum(len(r.predictions["segmentation"]) for r in own) == 7
    assert results[0].predictions["segmentation"].shape[1:] == SIZE


def test_a_schedule_that_plans_gets_whole_intervals(model, files):
    schedule = FixedSchedule(3)
    results = Engine(model, schedule).run(read_clips(files[:1], schedule))
    assert [(r.clip.start, list(r.key_frames)) for r in results] == [
        *((0, [True, False, False]), (3, [True, False, False]), (6, [True])),
    ]


def small_clip(start, last=False):
    """Frames too small for the flow network."""
    frames = torch.zeros((2, 3, 48, 64), dtype=torch.uint8)
    times = [float(start), start + 1.0]
    return Clip(VideoInput("small.mp4", "small"), frames, frames, start, last, times)


def test_an_error_ends_its_video_and_no_other(model, files):
    engine = Engine(model, FixedSchedule(4))
    first, second = engine.step(small_clip(0)), engine.step(small_clip(2, last=True))
    assert "frames of 48 x 64 pixels" in first.error and first.predictions == {}
    assert second.error is not None
    schedule = FixedSchedule(4)
    later = [engine.step(clip) for clip in read_clips(files[:1], schedule)]
    assert [result.error for result in later] == [None, None]


def test_a_clip_with_an_error_passes_it_on(model):
    gone = VideoInput("gone.mp4", "gone")
    (clip,) = read_clips([gone], FixedSchedule(2))
    result = Engine(model, FixedSchedule(2)).step(clip)
    assert "gone.mp4" in result.error and result.clip.last


def test_what_a_sink_raises_reaches_the_caller_and_cancels_it(model, files):
    calls = []

    class Full:
        def put(self, result):
            calls.append("put")
            raise OSError("full")

        def finish(self):
            calls.append("finish")

        def cancel(self):
            calls.append("cancel")

    schedule = FixedSchedule(3)
    with pytest.raises(OSError, match="full"):
        predict_videos(Engine(model, schedule), read_clips(files, schedule), Full())
    assert calls == ["put", "cancel"]
