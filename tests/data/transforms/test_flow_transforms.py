import cv2
import numpy as np
import pytest

from dff.data.synthetic.chairs.pairs import DrawnPairSettings, draw_pair
from dff.data.transforms.flow import FlowTransform
from dff.data.transforms.windows import PADDING_COLOUR

H, W = 128, 160
MOTION = np.array([[1.02, -0.03, 3.0], [0.04, 0.98, -2.5], [0, 0, 1]])
"""Current -> key of the smooth pair."""
WAYS = {
    "nothing": {"flip": 0},
    "scale": {"scale": (0.6, 1.8), "flip": 0},
    "rotate": {"rotate": 40, "flip": 0},
    "translate": {"translate": 0.3, "flip": 0},
    "relative": {"relative": 3.0, "flip": 0},
    "crop": {"size": (72, 100), "flip": 0},
    "flip": {"flip": 1},
    "colour": {"colour": 0.3, "flip": 0},
    "all": {
        "size": (96, 128),
        "scale": (0.8, 1.6),
        "rotate": 17,
        "translate": 0.1,
        "relative": 1.0,
        "flip": 0.5,
        "colour": 0.3,
    },
}


def smooth_pair():
    """Waves so long that sampling them between pixels costs less than half a grey level."""
    x, y = np.meshgrid(np.arange(W, dtype=float), np.arange(H, dtype=float))

    def waves(x, y):
        phases = [0.21 * x + 0.05 * y, 0.19 * y - 0.07 * x, 0.13 * x + 0.16 * y]
        return np.rint(128 + 70 * np.sin(np.stack(phases, -1))).astype(np.uint8)

    back = np.linalg.inv(MOTION)
    moved = MOTION[:2, :2] @ np.stack([x, y]).reshape(2, -1) + MOTION[:2, 2:]
    flow = (moved.reshape(2, H, W) - np.stack([x, y])).transpose(1, 2, 0)
    inside = np.ones((H, W), bool)
    for moves, limit in zip(moved.reshape(2, H, W), (W, H), strict=True):
        inside &= (moves >= -0.5) & (moves <= limit - 0.5)
    return {
        "current": waves(x, y),
        "key": waves(*(back[i, 0] * x + back[i, 1] * y + back[i, 2] for i in range(2))),
        "flow": flow.astype(np.float32),
        "flow_known": np.ones((H, W), bool),
        "occluded": ~inside,
    }


def differences(out):
    """Key frame along the flow minus current frame, where both are to be seen; (N, 3)."""
    height, width = out["current"].shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    x, y = np.moveaxis((grid + out["flow"]).astype(np.float32), -1, 0)
    warped = cv2.remap(out["key"].astype(np.float32), x, y, cv2.INTER_LINEAR)
    seen = out["flow_known"] & ~out["occluded"]
    # away from padding, which is mixed into the pixels beside it
    seen = cv2.erode(seen.astype(np.uint8), np.ones((5, 5)), borderValue=0).astype(bool)
    return (warped - out["current"])[seen]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(4))
def test_along_the_flow_the_key_frame_is_the_current_frame(way, seed):
    out = FlowTransform(**WAYS[way])(smooth_pair(), seed)
    found = np.abs(differences(out))
    assert len(found) > 0.3 * out["flow_known"].size * 0.5
    assert found.mean() < 1.0 and found.max() < 6
    # and a third of a pixel of error would be seen
    out["flow"] += np.float32(0.33)
    assert np.abs(differences(out)).mean() > 1.8


@pytest.mark.parametrize("seed", range(3))
def test_a_drawn_pair_with_layers_and_occlusion_agrees_too(seed):
    pair = draw_pair(DrawnPairSettings(height=H, width=W, noise=0, motion=4.0), seed)
    out = FlowTransform(**WAYS["all"])(pair, seed)
    found = np.abs(differences(out))
    # the edges of shapes are mixed anew in each frame
    assert np.median(found) < 2
    assert found.mean() < 0.4 * np.abs(differences({**out, "flow": 0 * out["flow"]})).mean()


def test_no_change_is_no_change():
    pair = smooth_pair()
    out = FlowTransform(flip=0)(pair, 3)
    for name in pair:
        np.testing.assert_allclose(out[name], pair[name], atol=1e-4, err_msg=name)


def test_a_crop_is_whole_pixels_of_the_frame():
    pair = smooth_pair()
    places = set()
    for seed in range(8):
        out = FlowTransform((64, 96), flip=0)(pair, seed)
        views = np.lib.stride_tricks.sliding_window_view(pair["current"], (64, 96, 3))[:, :, 0]
        hits = np.argwhere((views == out["current"]).all((2, 3, 4)))
        assert len(hits) >= 1
        top, left = hits[0]
        places.add((int(top), int(left)))
        cut = pair["flow"][top : top + 64, left : left + 96]
        np.testing.assert_allclose(out["flow"], cut, atol=1e-4)
        assert out["flow_known"].all()
    assert len(places) > 5


def test_vectors_grow_with_the_frame_and_turn_with_the_mirror():
    pair = smooth_pair()
    pair["flow"][:] = (3, -2)
    for seed in range(3):
        out = FlowTransform(scale=(2, 2), flip=0)(pair, seed)
        np.testing.assert_allclose(out["flow"], np.broadcast_to((6, -4), (H, W, 2)), atol=1e-3)
        out = FlowTransform(flip=1)(pair, seed)
        np.testing.assert_allclose(out["flow"], np.broadcast_to((-3, -2), (H, W, 2)), atol=1e-3)
        np.testing.assert_array_equal(out["current"], pair["current"][:, ::-1])


def test_turning_keeps_the_length_and_motion_of_its_own_is_small():
    pair = smooth_pair()
    pair["flow"][:] = (3, -4)
    out = FlowTransform(rotate=180, flip=0)(pair, 1)
    np.testing.assert_allclose(np.hypot(*out["flow"][out["flow_known"]].T), 5, atol=1e-3)
    assert not np.allclose(out["flow"][out["flow_known"]], (3, -4), atol=0.5)
    pair["flow"][:] = 0
    out = FlowTransform(relative=1, flip=0)(pair, 1)
    # 3 % of 160 for the shift, 3 % + 1.7 degrees of half the diagonal for the rest
    assert 0.1 < np.abs(out["flow"]).max() < 0.03 * W + (0.031 + 0.03) * np.hypot(H, W) / 2


def test_what_lies_beyond_the_frame_is_padding_and_not_known():
    out = FlowTransform(scale=(0.5, 0.5), flip=0)(smooth_pair(), 0)
    known = out["flow_known"]
    assert 0.2 < known.mean() < 0.3
    assert not out["flow"][~known].any() and not out["occluded"][~known].any()
    away = cv2.dilate(known.astype(np.uint8), np.ones((3, 3))) == 0
    assert (out["current"][away] == PADDING_COLOUR).all()


def test_a_counterpart_outside_the_crop_is_occluded():
    pair = smooth_pair()
    pair["flow"][:], pair["occluded"][:] = (10, 0), False
    out = FlowTransform((64, 64), flip=0)(pair, 0)
    assert out["occluded"][:, 54:].all() and not out["occluded"][:, :54].any()


def test_unknown_pixels_stay_unknown_and_do_not_leak():
    pair = smooth_pair()
    rng = np.random.default_rng(0)
    pair["flow_known"] = rng.random((H, W)) < 0.3  # as sparse as a laser scanner's
    pair["flow"][:] = (40, 7)
    pair["flow"][~pair["flow_known"]] = 0
    out = FlowTransform(scale=(1.5, 1.5), flip=0)(pair, 0)
    known = out["flow_known"]
    assert 0.25 < known.mean() < 0.35
    np.testing.assert_allclose(
        out["flow"][known], np.broadcast_to((60, 10.5), (known.sum(), 2)), atol=1e-3
    )
    assert not out["flow"][~known].any()


def test_flow_is_not_averaged_between_two_motions():
    pair = smooth_pair()
    pair["flow"][:, : W // 2], pair["flow"][:, W // 2 :] = (20, 0), (-20, 0)
    out = FlowTransform(scale=(1.7, 1.7), rotate=20, flip=0)(pair, 2)
    length = np.hypot(*out["flow"][out["flow_known"]].T)
    np.testing.assert_allclose(length, 34, atol=0.01)


def test_a_draw_is_the_seed_alone():
    transform, pair = FlowTransform(**WAYS["all"]), smooth_pair()
    one, again, other = transform(pair, 7), transform(pair, 7), transform(pair, 8)
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert not np.array_equal(one["current"], other["current"])
    again = FlowTransform(**WAYS["all"])(pair, 7)
    np.testing.assert_array_equal(one["key"], again["key"])


def test_occlusion_is_given_only_where_it_is_known():
    pair = smooth_pair()
    del pair["occluded"]
    assert "occluded" not in FlowTransform()(pair, 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": (32, 96)}, r"size of 32x96 is too small.*at least 64"),
        ({"scale": (2, 1)}, r"scale \(2, 1\): want two numbers, 0 < smallest <= largest"),
        ({"scale": (0, 1)}, r"scale \(0, 1\)"),
        ({"rotate": 181}, r"rotate 181: want a number from 0 to 180"),
        ({"rotate": -1}, r"rotate -1"),
        ({"translate": 1.5}, r"translate 1\.5: want a number from 0 to 1"),
        ({"relative": -0.1}, r"relative -0\.1: want a number from 0 to 10"),
        ({"flip": 2}, r"flip 2: want a number from 0 to 1"),
        ({"colour": float("nan")}, r"colour nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        FlowTransform(**settings)


def test_frames_too_small_to_keep_their_size_are_refused():
    pair = {name: array[:40] for name, array in smooth_pair().items()}
    with pytest.raises(ValueError, match=r"40x160 is too small"):
        FlowTransform()(pair, 0)
