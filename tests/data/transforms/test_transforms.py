import cv2
import numpy as np
import pytest
from small import SHARED

from dff.data.files.images import read_image
from dff.data.transforms.pairs import EvaluationTransform, TrainingTransform
from dff.data.transforms.windows import Window

FRAME = (160, 224)
VID_FRAME = SHARED / "data/vid_mini/ILSVRC2015/Data/VID/val/ILSVRC2015_val_00007010" / "000000.JPEG"


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
    with pytest.raises(ValueError, match="a frame of 48x64 is too small"):
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


def with_boxes(arrays, corners, tracks=None):
    corners = np.array(corners, np.float32).reshape(-1, 4)
    numbers = np.arange(len(corners)) if tracks is None else np.array(tracks)
    return arrays | {"boxes": corners, "box_labels": numbers % 3, "tracks": numbers + 100}


def rectangles(count, seed, size=FRAME):
    """A frame of filled rectangles that do not touch, each with a colour and a box of its own."""
    draw = np.random.default_rng(seed)
    frame, corners = np.zeros((*size, 3), np.uint8), []
    cells = draw.permutation([(x, y) for x in range(0, 200, 40) for y in range(0, 150, 50)])
    for number, (x, y) in enumerate(cells[:count].tolist()):
        x1, y1 = x + draw.integers(0, 12), y + draw.integers(0, 15)
        x2, y2 = x1 + draw.integers(5, 24), y1 + draw.integers(5, 30)
        frame[y1 : y2 + 1, x1 : x2 + 1] = 40 * (number + 1)
        corners.append((x1, y1, x2, y2))
    return frame, np.array(corners, np.float32)


@pytest.mark.parametrize("scale", [(1, 1), (0.4, 0.9), (1.1, 2.0)])
@pytest.mark.parametrize("flip", [0, 1])
def test_a_box_stays_around_its_rectangle(scale, flip):
    transform = TrainingTransform((96, 128), scale, flip, min_visibility=0)
    for seed in range(40):
        frame, corners = rectangles(5, seed)
        labels = frame[..., 0]
        arrays = with_boxes({"key": frame, "current": frame, "mask": labels}, corners)
        out = transform(arrays, seed)
        assert out["current"].shape == (96, 128, 3)
        assert "frame_boxes" not in out
        for box, number in zip(out["boxes"], out["tracks"] - 100, strict=True):
            rows, columns = np.nonzero(out["mask"] == 40 * (number + 1))
            if not len(rows):  # a sliver of less than half a pixel at the border
                assert min(box[2] - box[0], box[3] - box[1]) < 1
                continue
            around = (columns.min(), rows.min(), columns.max(), rows.max())
            assert np.abs(box - around).max() <= (0 if scale == (1, 1) else 1.01)
        seen = {value for value in np.unique(out["mask"]) if 0 < value < 255}
        assert seen <= {40 * (number - 99) for number in out["tracks"]}
        assert (out["box_labels"] == (out["tracks"] - 100) % 3).all()


def test_borders_of_a_box_are_clipped_to_the_window_and_its_area_is_exact():
    window = Window(10, 20, 100, 60, (120, 200))
    boxes, left = window.boxes(np.array([[0, 0, 19, 39], [50, 30, 59, 49], [0, 0, 5, 5]]))
    assert boxes[:2].tolist() == [[0, 0, 19, 39], [80, 20, 99, 59]]
    assert left.tolist() == [0.25, 1, 0]


def test_a_box_is_dropped_where_too_little_of_it_is_left():
    # a window that covers exactly the left half of the frame
    frame = np.zeros((96, 256, 3), np.uint8)
    corners = [(118, 10, 137, 19), (122, 10, 141, 19), (126, 10, 127, 19), (10, 10, 19, 19)]
    shares = {100: 0.5, 101: 0.3, 102: 1.0, 103: 1.0}

    def tracks(least):
        transform = TrainingTransform((96, 128), flip=0, min_visibility=least)
        transform.window = lambda size, rng: Window(0, 0, 128, 96, (96, 128))
        return transform(with_boxes(pair(frame, frame), corners), 0)["tracks"].tolist()

    for least in (0, 0.3, 0.31, 0.6, 1):
        assert tracks(least) == [track for track, share in shares.items() if share >= least]


def test_a_box_outside_is_dropped_even_where_nothing_need_be_left():
    frame = np.zeros((96, 256, 3), np.uint8)
    transform = TrainingTransform((96, 128), flip=0, min_visibility=0)
    transform.window = lambda size, rng: Window(0, 0, 128, 96, (96, 128))
    out = transform(with_boxes(pair(frame, frame), [(200, 5, 210, 9), (128, 5, 140, 9)]), 0)
    assert out["boxes"].shape == (0, 4) and out["box_labels"].shape == out["tracks"].shape == (0,)


def test_whole_frames_lose_no_box():
    corners = [(0, 0, 0, 0), (223, 159, 223, 159), (0, 0, 223, 159), (5, 7, 6, 100)]
    for transform in (
        TrainingTransform(None, flip=0.5, min_visibility=1),
        TrainingTransform(None, flip=0.5, short_side=70, max_side=90, min_visibility=1),
        TrainingTransform(None, scale=(0.7, 2), short_side=100, min_visibility=1),
    ):
        for seed in range(20):
            out = transform(with_boxes(pair(smooth(), smooth()), corners), seed)
            height, width = out["current"].shape[:2]
            assert len(out["boxes"]) == 4
            assert (out["boxes"] >= 0).all() and (out["boxes"] < (width, height) * 2).all()
            assert (out["boxes"][:, 2:] >= out["boxes"][:, :2]).all()


def test_a_frame_without_boxes_stays_one():
    out = ANY(with_boxes(pair(smooth(), smooth()), []), 3)
    assert out["boxes"].shape == (0, 4) and out["boxes"].dtype == np.float32


@pytest.mark.parametrize(
    "frame, size",
    [
        ((720, 1280), (562, 1000)),  # 562.5 goes to the even number
        ((480, 640), (600, 800)),
        ((360, 640), (562, 1000)),
        ((600, 1000), (600, 1000)),
        ((500, 375), (800, 600)),
        ((1500, 500), (1000, 333)),
    ],
)
def test_frames_are_resized_by_the_authors_rule(frame, size):
    picture = smooth(*frame)
    out = EvaluationTransform(600, 1000)({"key": picture, "current": picture})
    trained = TrainingTransform(None, flip=0, short_side=600, max_side=1000)(
        {"key": picture, "current": picture}, 0
    )
    assert out["current"].shape[:2] == size
    assert np.array_equal(out["current"], trained["current"])


def test_evaluation_gives_the_boxes_in_pixels_of_both():
    arrays = with_boxes(affine_pair(), [(3, 4, 50, 60)])
    out = EvaluationTransform(80)(arrays)
    assert out["frame_boxes"] is arrays["boxes"]
    assert out["boxes"].tolist() == [[1.5, 2, 25, 30]] and out["boxes"].dtype == np.float32
    assert out["frame_size"].tolist() == list(FRAME)
    out = EvaluationTransform(320, 400)(arrays)
    assert out["current"].shape[1] == 400 and np.allclose(out["boxes"], arrays["boxes"] * 400 / 224)
    assert np.array_equal(EvaluationTransform()(arrays)["boxes"], arrays["boxes"])
    assert "frame_boxes" not in EvaluationTransform(80)(affine_pair())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(size=(64, 64), short_side=600), "a size cuts a window, a short side takes whole"),
        (dict(size=None, short_side=32), "a short side of 32 is too small"),
        (dict(size=None, short_side=100000), "a side of 100000 pixels is more than memory holds"),
        (dict(size=None, max_side=1000), "max_side 1000 with short_side None: want a short side"),
        (dict(size=None, short_side=600, max_side=500), "max_side 500 with short_side 600"),
        (dict(size=None, min_visibility=2), "min_visibility 2: want a number from 0 to 1"),
    ],
)
def test_a_wrong_side_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingTransform(**arguments)


@pytest.mark.skipif(
    not (SHARED / "reference" / "preprocess.npz").is_file() or not VID_FRAME.is_file(),
    reason=f"no reference vectors and frames below {SHARED}: set DFF_SHARED",
)
def test_frames_are_resized_as_the_authors_code_resizes_them():
    with np.load(SHARED / "reference" / "preprocess.npz") as file:
        wanted, shape = file["resized_u8_rows_200_264_cols_300_428"], file["resized_shape"]
        original = file["orig_u8_rows_240_360_cols_370_560"]
        scale = float(file["scale"])
    frame = read_image(VID_FRAME)
    assert np.array_equal(frame[240:360, 370:560, ::-1], original)
    out = EvaluationTransform(600, 1000)(
        with_boxes({"key": frame, "current": frame}, [(1, 2, 3, 4)])
    )
    assert out["current"].shape == tuple(shape)
    assert np.array_equal(out["boxes"], np.float32([[1, 2, 3, 4]]) * np.float32(scale))
    assert np.array_equal(out["current"][200:264, 300:428, ::-1], wanted)
