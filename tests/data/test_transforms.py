import cv2
import numpy as np
import pytest

from dff.data.transforms import EvaluationTransform, TrainingTransform, Window

FRAME = (160, 224)


def smooth(height=FRAME[0], width=FRAME[1], seed=0, sigma=6):
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma)
    return (127 + 100 * noise / np.abs(noise).max()).astype(np.uint8)


def affine_pair():
    """Two frames, and the flow between them: a turn, a zoom and a shift, as a camera makes."""
    key = smooth()
    y, x = np.mgrid[: FRAME[0], : FRAME[1]].astype(np.float32)
    flow = np.stack([0.04 * (x - 100) + 0.02 * y + 3.3, 0.03 * (y - 90) - 0.02 * x - 1.7], -1)
    current = cv2.remap(key, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC)
    to = np.stack([x, y], -1) + flow
    occluded = ((to < -0.5) | (to > np.array(FRAME[::-1]) - 0.5)).any(-1)
    known = np.ones(FRAME, bool)
    mask = np.zeros(FRAME, np.uint8)
    return dict(key=key, current=current, mask=mask, flow=flow, flow_known=known, occluded=occluded)


def pair(key, current, mask=None):
    mask = np.zeros(current.shape[:2], np.uint8) if mask is None else mask
    return {"key": key, "current": current, "mask": mask}


ANY = TrainingTransform((96, 128), scale=(0.5, 1.5), flip=0.5, colour=0.4)


def test_both_frames_get_the_same_draw():
    for seed in range(50):
        out = ANY(pair(smooth(), smooth()), seed)
        assert np.array_equal(out["key"], out["current"])


def test_a_colour_of_the_scene_stays_one_colour_in_both_frames():
    # contrast is relative to a mean: with one mean for each frame, the grey below would become two
    key, current = np.full((2, 96, 128, 3), 100, np.uint8)
    current[:, 64:] = 250
    transform = TrainingTransform((96, 128), flip=0, colour=0.4)
    outs = [transform(pair(key, current), seed) for seed in range(50)]
    assert all(np.array_equal(out["key"][:, :64], out["current"][:, :64]) for out in outs)
    assert len({int(out["key"][0, 0, 0]) for out in outs}) > 20


def test_colour_leaves_the_mask_and_changes_the_frames():
    mask = np.random.default_rng(0).integers(0, 19, FRAME, dtype=np.uint8)
    out = TrainingTransform(None, flip=0, colour=0.4)(pair(smooth(), smooth(), mask), 1)
    assert np.array_equal(out["mask"], mask)
    assert not np.array_equal(out["key"], smooth())


def test_one_frame_given_twice_is_as_good_as_two_equal_ones():
    frame = smooth()
    once, twice = ANY(pair(frame, frame), 5), ANY(pair(frame, frame.copy()), 5)
    # the mean of a frame and of two of them side by side differ by a rounding at most
    assert np.abs(once["current"].astype(int) - twice["current"]).max() <= 1
    assert once["key"] is once["current"]


def test_the_seed_is_all_that_the_draw_depends_on():
    transform = TrainingTransform((96, 128), scale=(0.5, 1.5), flip=0.5, colour=0.4)
    first = [transform(affine_pair(), seed) for seed in range(10)]
    other = TrainingTransform((96, 128), scale=(0.5, 1.5), flip=0.5, colour=0.4)
    again = [other(affine_pair(), seed) for seed in reversed(range(10))][::-1]
    for one, two in zip(first, again, strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in one)
    assert len({out["current"].tobytes() for out in first}) == 10


@pytest.mark.parametrize("scale", [(1, 1), (0.5, 0.9), (1.1, 2.0)])
def test_mask_and_image_move_together(scale):
    blocks = np.random.default_rng(0).integers(0, 19, (10, 14), dtype=np.uint8)
    mask = cv2.resize(blocks, FRAME[::-1], interpolation=cv2.INTER_NEAREST)
    image = np.repeat(mask[..., None] * 10, 3, axis=2)
    transform = TrainingTransform((96, 128), scale, flip=0.5)
    for seed in range(30):
        out = transform(pair(image, image, mask), seed)
        # away from the borders of the blocks the red channel is the class
        eroded, grown = (
            cv2.erode(out["mask"], np.ones((5, 5))),
            cv2.dilate(out["mask"], np.ones((5, 5))),
        )
        inside = (eroded == grown) & (out["mask"] != 255)
        assert inside.mean() > 0.15
        assert np.array_equal(out["current"][..., 0][inside], out["mask"][inside] * 10)


def test_labels_shrink_about_pixel_centres():
    # every output pixel centre of a frame shrunk by 3 is the centre of the middle frame pixel
    labels = np.tile(np.array([0, 1, 2], np.uint8), (9, 4))
    shrunk = Window(0, 0, 12, 9, (3, 4)).labels(labels)
    assert (shrunk == 1).all()


@pytest.mark.parametrize("scale", [(1, 1), (0.6, 0.95), (1.05, 1.8)])
@pytest.mark.parametrize("flip", [0, 1])
def test_the_flow_still_leads_from_the_current_frame_to_the_key_frame(scale, flip):
    arrays = affine_pair()
    transform = TrainingTransform((96, 128), scale, flip)
    y, x = np.mgrid[:96, :128].astype(np.float32)
    for seed in range(20):
        out = transform(arrays, seed)
        flow = out["flow"]
        warped = cv2.remap(out["key"], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        seen = (out["flow_known"] & ~out["occluded"]).astype(np.uint8)
        seen = cv2.erode(seen, np.ones((7, 7)), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        error = np.abs(warped.astype(float) - out["current"])[seen > 0]
        assert seen.mean() > 0.2
        assert error.mean() < 1 and error.max() < 6
        moved = np.abs(out["key"].astype(float) - out["current"])[seen > 0]
        assert moved.mean() > 4 * error.mean()


def test_what_leaves_the_window_is_occluded():
    flow = np.zeros((*FRAME, 2), np.float32)
    flow[..., 0] = 10
    arrays = pair(smooth(), smooth()) | {
        "flow": flow,
        "flow_known": np.ones(FRAME, bool),
        "occluded": np.zeros(FRAME, bool),
    }
    out = TrainingTransform((96, 128), flip=0)(arrays, 0)
    assert out["occluded"][:, -10:].all() and not out["occluded"][:, :-10].any()
    out = TrainingTransform((96, 128), flip=1)(arrays, 0)
    assert out["occluded"][:, :10].all() and not out["occluded"][:, 10:].any()


def test_padding_is_ignored_and_its_flow_unknown():
    transform = TrainingTransform((96, 128), scale=(0.4, 0.4), flip=0.5)
    for seed in range(20):
        out = transform(affine_pair(), seed)
        padded = out["mask"] == 255
        assert 0.4 < padded.mean() < 0.6  # 64x90 of 96x128 is frame
        assert not (out["flow_known"] & padded).any()
        assert not out["flow"][padded].any() and not out["occluded"][padded].any()
        assert (out["current"][padded] == (124, 116, 104)).all(-1).mean() > 0.95


def test_no_size_keeps_the_whole_frame():
    arrays = affine_pair()
    out = TrainingTransform(None, flip=0)(arrays, 3)
    assert all(np.array_equal(out[name], arrays[name]) for name in arrays)
    out = TrainingTransform(None, flip=1)(arrays, 3)
    assert np.array_equal(out["current"], arrays["current"][:, ::-1])


def test_windows_lie_everywhere_in_the_frame():
    transform = TrainingTransform((96, 128), scale=(1, 2), flip=0.5)
    windows = [transform.window(FRAME, np.random.default_rng(seed)) for seed in range(500)]
    assert all(w.left >= 0 and w.left + w.width <= FRAME[1] for w in windows)
    assert all(w.top >= 0 and w.top + w.height <= FRAME[0] for w in windows)
    assert min(w.left for w in windows) == 0
    assert max(w.left + w.width for w in windows) == FRAME[1]
    assert 0.4 < np.mean([w.flip for w in windows]) < 0.6
    assert {w.width for w in windows} >= set(range(70, 120))


@pytest.mark.parametrize("flip", [False, True])
def test_points_move_with_the_image(flip):
    window = Window(20, -10, 100, 80, (120, 200), flip)
    frame = np.zeros((*FRAME, 3), np.uint8)
    cv2.circle(frame, (70, 33), 6, (255, 255, 255), -1)
    rows, columns = np.nonzero(window.image(frame)[..., 0] > 127)
    x, y = window.points(np.array([70.0, 33.0]))
    assert abs(columns.mean() - x) < 0.3 and abs(rows.mean() - y) < 0.3


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(size=(48, 64)), r"a size of 48x64 is too small: .* at least 64"),
        (dict(size=(64, 63)), r"a size of 64x63 is too small"),
        (dict(size=(64,)), "want height and width"),
        (dict(size=None, scale=(0, 1)), "0 < smallest <= largest"),
        (dict(size=None, scale=(2, 1)), "0 < smallest <= largest"),
        (dict(size=None, flip=1.5), r"flip 1\.5: want a number from 0 to 1"),
        (dict(size=None, colour=-0.1), r"colour -0\.1: want a number from 0 to 1"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingTransform(**arguments)


def test_a_frame_too_small_for_the_networks_is_named():
    with pytest.raises(ValueError, match="a size of 48x64 is too small"):
        TrainingTransform(None)(pair(smooth(48, 64), smooth(48, 64)), 0)


@pytest.mark.parametrize("side, size", [(80, (80, 112)), (320, (320, 448)), (160, FRAME)])
def test_evaluation_resizes_the_frames_and_nothing_else(side, size):
    arrays = affine_pair()
    out = EvaluationTransform(side)(arrays)
    assert out["key"].shape == out["current"].shape == (*size, 3)
    for name in ("mask", "flow", "flow_known", "occluded"):
        assert out[name] is arrays[name]
    back = cv2.resize(out["current"], FRAME[::-1])
    assert np.abs(back.astype(float) - arrays["current"]).mean() < 2


def test_evaluation_leaves_frames_of_no_wanted_size_alone():
    arrays = affine_pair()
    out = EvaluationTransform()(arrays)
    assert all(out[name] is arrays[name] for name in arrays)
    with pytest.raises(ValueError, match="a short side of 32 is too small"):
        EvaluationTransform(32)
