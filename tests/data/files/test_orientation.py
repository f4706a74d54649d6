"""Pictures that a camera marked as lying: one rule for frames, masks and boxes."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from vid_layout import write_vid

from dff.data.datasets.folder import MaskReader
from dff.data.datasets.imagenet_vid.snippets import find_snippets
from dff.data.files.images import read_image, read_labels, read_orientation, write_png
from dff.data.files.orientation import orientation_of, turn
from dff.data.pairs import EvaluationPairs, TrainingPairs
from dff.data.samples import SampleError, Snippet
from dff.data.transforms.pairs import EvaluationTransform, TrainingTransform
from dff.data.video.sources import FrameFolder

ALL = range(1, 9)
SIZE = (64, 96)
PLAIN = TrainingTransform(None, flip=0)


def exif(orientation, order=">", extra=0):
    """EXIF data with an orientation behind `extra` other entries."""
    entries = [struct.pack(f"{order}HHII", 0x0100 + n, 4, 1, 7) for n in range(extra)]
    entries.append(struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0))
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)


def marked(path, data, last=False):
    """Marks a JPEG or PNG file as one to be turned; a PNG before its pixels or behind them."""
    file = path.read_bytes()
    if file.startswith(b"\xff\xd8"):
        data = b"Exif\0\0" + data
        comment = b"\xff\xfe\x00\x04hi"
        mark = comment + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
        path.write_bytes(file[:2] + mark + file[2:])
    else:
        check = struct.pack(">I", zlib.crc32(b"eXIf" + data))
        chunk, at = struct.pack(">I", len(data)) + b"eXIf" + data + check, -12 if last else 33
        path.write_bytes(file[:at] + chunk + file[at:])
    return path


def draw(path, size=SIZE):
    """A picture without symmetry: blobs on a slope."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 6)
    slope = np.linspace(0, 120, size[0] * size[1]).reshape(*size, 1)
    picture = (noise // 3 + slope).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", ALL)
def test_a_frame_is_turned_as_opencv_and_viewers_turn_it(tmp_path, suffix, order, orientation):
    path = draw(tmp_path / f"a{suffix}")
    marked(path, exif(orientation, order, extra=orientation % 3))
    shown = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert read_orientation(path) == orientation
    assert np.array_equal(read_image(path), shown)
    assert FrameFolder(tmp_path).size == shown.shape[:2]
    assert np.array_equal(next(iter(FrameFolder(tmp_path))), shown)


def test_a_mark_behind_the_pixels_counts_and_damaged_or_odd_ones_do_not(tmp_path):
    path = marked(draw(tmp_path / "a.png"), exif(6), last=True)
    assert read_image(path).shape == (*SIZE[::-1], 3)
    whole, jpeg = exif(6), draw(tmp_path / "a.jpg").read_bytes()
    odd = [whole[:n] for n in range(18)] + [exif(n) for n in (0, 9, 77)]
    odd += [b"XX" + whole[2:], whole[:4] + b"\xff" * 4 + whole[8:]]
    for data in odd:
        (tmp_path / "b.jpg").write_bytes(jpeg)
        assert read_orientation(marked(tmp_path / "b.jpg", data)) == 1
    for size in range(0, len(jpeg), 7):
        assert orientation_of(jpeg[:size]) == 1


def pair_of(tmp_path, orientation, mask, size=SIZE, frame="jpg", mask_mark=None):
    """The pair of one frame, marked, and a mask; the first as stored is 1 where it is bright."""
    path = draw(tmp_path / f"f.{frame}", size)
    if orientation != 1:
        marked(path, exif(orientation))
    write_png(tmp_path / "m.png", mask)
    if mask_mark:
        marked(tmp_path / "m.png", exif(mask_mark))
    snippet = Snippet("a", {0: str(path)}, [0], {0: str(tmp_path / "m.png")})
    pair = TrainingPairs([snippet], MaskReader(2), PLAIN)[0, 0]
    assert np.array_equal(pair["current"].permute(1, 2, 0), read_image(path))
    return pair


def bright(image):
    return (image[..., 0] > 60).astype(np.uint8)


@pytest.fixture
def stored_mask(tmp_path):
    """What a script finds that reads the pixels as they are stored."""
    return bright(read_image(draw(tmp_path / "plain.png")))


def fits(pair):
    """Whether the mask lies where the frame is bright."""
    found = bright(pair["current"].permute(1, 2, 0).numpy())
    return (found == pair["mask"].numpy()).mean() > 0.97


@pytest.mark.parametrize("frame", ["jpg", "png"])
@pytest.mark.parametrize("orientation", (5, 6, 7, 8))
def test_the_size_tells_how_a_mask_lies_on_a_frame_on_its_side(
    tmp_path, stored_mask, frame, orientation
):
    assert fits(pair_of(tmp_path, orientation, stored_mask, frame=frame))
    assert fits(pair_of(tmp_path, orientation, turn(stored_mask, orientation), frame=frame))
    wrong = np.zeros((30, 40), np.uint8)
    with pytest.raises(SampleError, match=r"30x40, .* 96x64, turned by its EXIF orientation [5-8]"):
        pair_of(tmp_path, orientation, wrong, frame=frame)


@pytest.mark.parametrize("frame", ["jpg", "png"])
@pytest.mark.parametrize("orientation", (2, 3, 4))
def test_where_nothing_tells_how_a_mask_lies_the_pair_is_refused(
    tmp_path, stored_mask, frame, orientation
):
    """A mask of either kind would be taken for one of the other without a word."""
    for mask in (stored_mask, turn(stored_mask, orientation)):
        with pytest.raises(SampleError, match=r"EXIF orientation [234], .*auto-orient.*exiftool"):
            pair_of(tmp_path, orientation, mask, frame=frame)
    square = np.zeros((64, 64), np.uint8)
    with pytest.raises(SampleError, match=r"orientation 6, .*auto-orient.*exiftool.*f\.jpg"):
        pair_of(tmp_path, 6, square, size=(64, 64))


@pytest.mark.parametrize("orientation", ALL)
def test_a_mask_with_a_mark_of_its_own_is_turned_by_that(tmp_path, stored_mask, orientation):
    assert fits(pair_of(tmp_path, orientation, stored_mask, mask_mark=orientation))
    assert np.array_equal(read_labels(tmp_path / "m.png"), turn(stored_mask, orientation))
    if orientation != 1:
        wrong = pair_of(tmp_path, 1, turn(stored_mask, 3), mask_mark=3)
        assert fits(wrong)


@pytest.fixture
def vid(tmp_path, monkeypatch):
    monkeypatch.setenv("DFF_CACHE", str(tmp_path / "cache"))
    return write_vid(tmp_path / "vid")


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("shown", [False, True])
def test_boxes_alone_are_in_stored_pixels_unless_their_size_is_that_of_the_shown_frame(
    vid, orientation, shown
):
    video = vid / "Data/VID/val/ILSVRC2015_val_00000000"
    for path in sorted(video.iterdir()):
        marked(path, exif(orientation))
        xml = vid / "Annotations" / path.relative_to(vid / "Data").with_suffix(".xml")
        if shown:  # 80 x 112 as drawn
            text = xml.read_text().replace("<width>112</width>", "<width>80</width>")
            xml.write_text(text.replace("<height>80</height>", "<height>112</height>"))
    if shown and orientation < 5:
        with pytest.raises(SampleError, match=r"boxes of a frame of another size: 112x80"):
            boxed_pair(vid)
        return
    height, width = (112, 80) if shown else (80, 112)
    for gap in (0, 2):
        pair = boxed_pair(vid, gap)
        assert pair["current"].shape == pair["key"].shape == (3, height, width)
    lying = cv2.imread(str(video / "000005.JPEG"), cv2.IMREAD_COLOR_RGB | 128)
    frame = pair["current"].permute(1, 2, 0).numpy()
    assert np.array_equal(frame, turn(lying, orientation) if shown else lying)


def boxed_pair(root, gap=0):
    snippets = find_snippets(root, "val")
    return EvaluationPairs(snippets, None, EvaluationTransform(), [gap], with_boxes=True)[5 - gap]
