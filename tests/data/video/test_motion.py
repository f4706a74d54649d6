"""The motion vectors of video files, and the flow that is made of them."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import write_clip

from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.clips import Clips, every
from dff.data.video.file import VideoFile
from dff.data.video.motion import at_size
from dff.data.video.sources import find_videos
from dff.inference.engine import Engine, read_clips
from dff.inference.recognizer import recognize_frames
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.codec import CodecFlow
from dff.models.schedule import FixedSchedule

RIGHT, DOWN = 4, 2
"""Pixels by which the picture moves from frame to frame."""


def moving(count):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 24, 32, generator=generator)
    wide = F.interpolate(coarse, scale_factor=8, mode="bicubic").clamp(0, 1)
    pictures = []
    for i in range(count):
        top, left = 40 - DOWN * i, 80 - RIGHT * i
        part = wide[0, :, top : top + 128, left : left + 160]
        pictures.append((part.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    return pictures


@pytest.fixture(scope="module", params=["h264", "mpeg4", "h264 with B-frames"])
def file(request, tmp_path_factory):
    codec, _, more = request.param.partition(" ")
    path = tmp_path_factory.mktemp("motion") / f"{codec}{bool(more)}.mp4"
    name = {"h264": "libx264", "mpeg4": "mpeg4"}[codec]
    options = {"bf": "2" if more else "0", "g": "100"}
    return write_clip(path, name, options, pictures=moving(12))


def test_vectors_are_the_motion_since_the_frame_before(file):
    fields = [frame.motion for frame in VideoFile(file).timed(motion=True)]
    assert fields[0] is None and len(fields) == 12
    assert sum(field is not None for field in fields) >= 10
    known = [field for field in fields if field is not None]
    assert {field.shape for field in known} == {(16, 20, 2)}
    middles = [np.median(field[3:-3, 3:-3].reshape(-1, 2), axis=0) for field in known]
    np.testing.assert_allclose(np.mean(middles, 0), [-RIGHT, -DOWN], atol=0.5)
    # a B-frame does not say how far back the frame lies that it was predicted from
    exact = [np.abs(middle - [-RIGHT, -DOWN]).max() < 0.5 for middle in middles]
    assert sum(exact) >= (8 if "True" in file.name else len(known))
    assert all(frame.motion is None for frame in VideoFile(file).timed())


def test_a_field_keeps_its_place_at_another_size():
    field = np.zeros((16, 20, 2), np.float32)
    field[..., 0], field[..., 1] = 8, -2
    found = at_size(field, (128, 160), (64, 80))
    assert found.shape == (8, 10, 2)
    np.testing.assert_allclose(found[..., 0], 4)
    np.testing.assert_allclose(found[..., 1], -1)


class Colours(torch.nn.Module):
    channels, strides = (3,), (4,)

    def forward(self, image):
        return F.avg_pool2d(image, 4)


class Shows(torch.nn.Module):
    def predict(self, features, size, frame):
        return features


def model():
    found = DeepFeatureFlow(Colours(), CodecFlow(), {"colours": Shows()}).eval()
    assert found.flow_from == "chain"
    return found


def test_carried_frames_follow_the_picture_live_and_in_intervals(file):
    shown = list(Clips(find_videos([file]), every(6), motion=True))
    networks = model()
    together = [r.predictions["colours"] for r in Engine(networks, FixedSchedule(6)).run(shown)]
    live = [
        result.predictions["colours"]
        for result in Engine(networks, FixedSchedule(6)).run(
            Clips(find_videos([file]), every(1), motion=True)
        )
    ]
    torch.testing.assert_close(torch.cat(together), torch.cat(live))
    frames = torch.cat([clip.seen for clip in shown]) / 255
    true = F.avg_pool2d(frames, 4)[:, :, 8:-8, 8:-8]
    carried = torch.cat(together)[:, :, 8:-8, 8:-8]
    copied = torch.cat([true[:1].expand(6, -1, -1, -1), true[6:7].expand(6, -1, -1, -1)])
    error, without = ((v - true).abs().mean() for v in (carried, copied))
    assert error < 0.35 * without


def test_where_the_file_says_nothing_dis_finds_the_flow_and_a_sentence_says_so(tmp_path):
    path = tmp_path / "a.mkv"
    write_clip(path, "libx265", {"x265-params": "log-level=none"}, pictures=moving(4))
    clips = read_clips(find_videos([path]), FixedSchedule(4), motion=True)
    with pytest.warns(
        UserWarning, match=r"a.mkv says nothing of its motion \(its format is hevc\)"
    ):
        (clip,) = [c for c in clips if len(c.frames) > 1]
    assert clip.motion is None
    networks, frames = model(), clip.seen / 255
    field = CodecFlow()(frames[1:2], frames[:1]).field
    assert field.shape == (1, 2, 16, 20)
    np.testing.assert_allclose(
        field[0, :, 4:-4, 4:-4].flatten(1).median(1).values, [-RIGHT, -DOWN], atol=0.5
    )
    assert recognize_frames(networks, frames, FixedSchedule(4)).key_frames == [True, *3 * [False]]


def test_it_leads_from_neighbour_to_neighbour_alone():
    networks = model()
    with pytest.raises(ValueError, match="flow_from 'warm' with the flow of the codec"):
        networks.flow_from = "warm"


def test_resized_frames_and_those_of_programs(file):
    resizing = EvaluationTransform(64)
    with warnings.catch_warnings(action="error"):
        (clip, *_) = Clips(find_videos([file]), every(6), resizing=resizing, motion=True)
    assert clip.seen.shape[-2:] == (64, 80)
    field = next(f for f in clip.motion if f is not None)
    assert field.shape == (2, 8, 10)
