import pickle
import time

import cv2
import numpy as np
import pytest

from dff.data.synthetic.chairs import pairs as drawn_pairs
from dff.data.synthetic.chairs.pairs import DrawnPairSettings, PairDrawing, draw_pair
from dff.data.synthetic.chairs.textures import draw_textures

SMALL = {"height": 96, "width": 128}


def lengths(settings, count):
    flows = [draw_pair(settings, index)["flow"] for index in range(count)]
    return np.hypot(*np.moveaxis(np.stack(flows), -1, 0))


def test_a_pair_is_its_settings_split_and_number():
    settings = DrawnPairSettings(**SMALL)
    one = draw_pair(settings, 3)
    draw_textures.cache_clear()  # as in another process
    again = pickle.loads(pickle.dumps(PairDrawing(settings)))(3)
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    others = (
        draw_pair(settings, 4),
        draw_pair(settings, 3, split=1),
        draw_pair(DrawnPairSettings(**SMALL, seed=1), 3),
    )
    for other in others:
        assert not np.array_equal(other["flow"], one["flow"])
    assert not np.array_equal(draw_textures(0, 0).materials, draw_textures(0, 1).materials)


def test_shapes_and_types_are_those_of_a_pair():
    pair = draw_pair(DrawnPairSettings(**SMALL), 0)
    for name in ("current", "key"):
        assert pair[name].shape == (96, 128, 3) and pair[name].dtype == np.uint8
    assert pair["flow"].shape == (96, 128, 2) and pair["flow"].dtype == np.float32
    assert pair["flow_known"].all() and pair["flow_known"].shape == (96, 128)
    assert pair["occluded"].dtype == bool


def test_without_motion_and_noise_both_frames_are_one():
    settings = DrawnPairSettings(**SMALL, motion=0, turn=0, zoom=0, noise=0)
    for index in range(5):
        pair = draw_pair(settings, index)
        np.testing.assert_array_equal(pair["current"], pair["key"])
        assert not pair["flow"].any() and not pair["occluded"].any()


@pytest.mark.parametrize("index", range(8))
def test_along_the_flow_the_key_frame_is_the_current_frame(index):
    pair = draw_pair(DrawnPairSettings(noise=0), index)
    height, width = pair["occluded"].shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)

    def difference(flow):
        x, y = np.moveaxis(grid + flow, -1, 0)
        warped = cv2.remap(pair["key"].astype(np.float32), x, y, cv2.INTER_LINEAR)
        edges = np.abs(np.diff(pair["flow"], axis=0, prepend=0)).sum(-1) > 0.3
        edges |= np.abs(np.diff(pair["flow"], axis=1, prepend=0)).sum(-1) > 0.3
        away = ~cv2.dilate((edges | pair["occluded"]).astype(np.uint8), np.ones((5, 5))).astype(
            bool
        )
        assert away.mean() > 0.2
        return np.abs(warped - pair["current"])[away].mean()

    right = difference(pair["flow"])
    assert right < 2.5
    assert right < difference(pair["flow"] + np.float32(0.5))
    assert right < difference(-pair["flow"])


def test_what_leaves_the_frame_or_is_covered_is_occluded(monkeypatch):
    """A background that stays, and one square that moves by 20 pixels to the right."""
    square = np.array([(20.0, 30), (60, 30), (60, 70), (20, 70)])
    monkeypatch.setattr(drawn_pairs, "draw_shape", lambda rng: None)
    monkeypatch.setattr(
        drawn_pairs, "place", lambda shape, size, rng: ([([square], 1.0)], np.array([40.0, 50]))
    )
    motions = iter([np.eye(3), np.array([[1, 0, 20.0], [0, 1, 0], [0, 0, 1]])])
    monkeypatch.setattr(drawn_pairs, "_motion", lambda *_: next(motions))
    pair = draw_pair(DrawnPairSettings(**SMALL, shapes=(1, 1)), 0)
    moves = pair["flow"][..., 0]
    assert set(np.unique(moves)) == {0, 20} and not pair["flow"][..., 1].any()
    assert moves[31:70, 21:60].all() and not moves[:, :19].any() and not moves[:, 62:].any()
    occluded = pair["occluded"]
    # the square covers columns 40 to 80 now: 61 to 79 of the background were seen, its own were not
    assert occluded[32:69, 62:79].all()
    assert not occluded[:, :61].any() and not occluded[:, 82:].any() and not occluded[:28].any()


def test_the_motion_has_a_largest_length_whatever_its_scale():
    settings = DrawnPairSettings(**SMALL, motion=200, turn=30, zoom=0.5, max_motion=30)
    length = lengths(settings, 12)
    assert length.max() <= 30.001 and np.percentile(length, 90) > 20


def test_most_motions_are_small_and_few_are_large_as_in_flying_chairs():
    # 12 real pairs: mean 8.8, median 2.9, 90 % below 26.5 and 99 % below 59 pixels
    length = lengths(DrawnPairSettings(), 100)
    assert 6 < length.mean() < 12 and 2 < np.median(length) < 6
    assert 15 < np.percentile(length, 90) < 35 and 40 < np.percentile(length, 99) < 100
    flat = lengths(DrawnPairSettings(power=1), 100)
    assert np.percentile(flat, 99) / np.median(flat) < 0.5 * (
        np.percentile(length, 99) / np.median(length)
    )


def test_half_a_dozen_shapes_are_seen_and_noise_differs_between_the_frames():
    layers = [
        len(np.unique(draw_pair(DrawnPairSettings(shapes=(8, 8)), i)["flow"][::2, ::2, 0]))
        for i in range(3)
    ]
    assert min(layers) > 8  # each motion has values of its own
    still = {"motion": 0, "turn": 0, "zoom": 0}
    pair = draw_pair(DrawnPairSettings(**still, noise=3), 1)
    difference = pair["current"].astype(float) - pair["key"]
    assert 3 < difference.std() < 1.6 * 3  # the root of 2, less what is cut at black and white


def test_any_size_from_64_pixels_is_drawn_and_sizes_below_are_refused():
    assert draw_pair(DrawnPairSettings(height=64, width=600), 0)["key"].shape == (64, 600, 3)
    with pytest.raises(ValueError, match=r"size of 32x320 is too small"):
        DrawnPairSettings(height=32)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"motion": -1}, r"motion -1: want a number from 0"),
        ({"max_motion": float("inf")}, r"max_motion inf"),
        ({"noise": float("nan")}, r"noise nan"),
        ({"seed": -1}, r"seed -1"),
        ({"power": 0}, r"power 0: want a number above 0, up to 6"),
        ({"shapes": (5, 4)}, r"shapes \(5, 4\): want smallest and largest"),
        ({"shapes": (0, 500)}, r"l <= 200"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        DrawnPairSettings(**settings)


def test_a_pair_is_drawn_in_milliseconds():
    settings = DrawnPairSettings()
    draw_pair(settings, 0)  # the textures
    started = time.process_time()
    for index in range(20):
        draw_pair(settings, index)
    # 7 ms for one on a slow core; the limit is for machines that do other things
    assert (time.process_time() - started) / 20 < 0.05
