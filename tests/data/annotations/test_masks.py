"""Masks in numbers, in 0 and 255, and in colours; frames in folders and in video files."""

import cv2
import numpy as np
import pytest
from clips import write_clip
from PIL import Image

from dff.data.annotations import looking
from dff.data.pair_files import read_pair
from dff.data.samples import SampleError

COLOURS = np.array([(10, 20, 30), (200, 100, 0), (0, 0, 0)], np.uint8)
CLASSES = "road 10 20 30\ncar 200 100 0\nignored 0 0 0\n"


def write(root, masks, classes=CLASSES, frames=True):
    if classes:
        (root / "classes.txt").write_text(classes)
    for i, mask in enumerate(masks):
        for kind in ("frames", "masks"):
            (root / "train" / kind / "a").mkdir(parents=True, exist_ok=True)
        if frames:
            frame = root / "train" / "frames" / "a" / f"{i}.png"
            cv2.imwrite(str(frame), np.full((*mask.shape[:2], 3), i, np.uint8))
        stored = mask[..., ::-1] if mask.ndim == 3 else mask
        cv2.imwrite(str(root / "train" / "masks" / "a" / f"{i}.png"), stored)
    return root


def labels():
    return np.random.default_rng(0).integers(0, 3, (12, 16))


def test_colours_are_numbers_of_their_classes(tmp_path):
    wanted = labels()
    found = looking.read(write(tmp_path, [COLOURS[wanted]])).sets["train"]
    assert found.classes == ("road", "car") and found.palette == COLOURS[:2].tolist()
    pair = read_pair(found.snippets[0], 0, 0, found.read_mask, False, False)
    np.testing.assert_array_equal(pair["mask"], np.where(wanted == 2, 255, wanted))
    assert "colours of classes" in found.findings.notes[0]


def test_an_unknown_colour_is_refused_with_its_count_and_place(tmp_path):
    mask = COLOURS[labels()]
    mask[3:5, 7] = 9, 8, 7
    found = looking.read(write(tmp_path, [mask])).sets["train"]
    with pytest.raises(SampleError, match="the colour 9 8 7 in 2 pixels, the first at x 7, y 3"):
        read_pair(found.snippets[0], 0, 0, found.read_mask, False, False)


def test_two_classes_of_one_colour_are_refused(tmp_path):
    with pytest.raises(SampleError, match="gives road and car one colour"):
        looking.read(write(tmp_path, [COLOURS[labels()]], "road 1 1 1\ncar 1 1 1\n"))


def test_a_jpeg_of_colours_is_refused(tmp_path):
    root = write(tmp_path, [COLOURS[labels()]])
    found = looking.read(root).sets["train"]
    file = root / "train" / "masks" / "a" / "0.png"
    Image.fromarray(COLOURS[labels()]).save(file, "JPEG")
    with pytest.raises(SampleError, match="which blurs colours"):
        found.read_mask(str(file))


def test_0_and_255_are_two_classes_and_with_numbers_255_is_ignored(tmp_path):
    mask = np.where(labels() > 0, 255, 0).astype(np.uint8)
    root = write(tmp_path, [mask], "background\ncat\n")
    found = looking.read(root).sets["train"]
    assert found.read_mask(str(root / "train/masks/a/0.png")).tolist() == (mask // 255).tolist()
    numbers = looking.read(root, masks="numbers").sets["train"]
    assert set(numbers.read_mask(str(root / "train/masks/a/0.png")).ravel()) == {0, 255}
    with pytest.raises(SampleError, match=r"0 and 255 have two classes, and classes\.txt names 3"):
        looking.read(write(tmp_path, [mask], "a\nb\nc\n"), masks="binary")


def test_palettes_tell_classes_where_there_is_no_classes_txt(tmp_path):
    root = write(tmp_path, [labels().astype(np.uint8)], "")
    with pytest.raises(SampleError, match="nothing tells the classes of"):
        looking.read(root)
    picture = Image.fromarray(labels().astype(np.uint8), "P")
    picture.putpalette(COLOURS.ravel().tolist())
    picture.save(root / "train" / "masks" / "a" / "0.png")
    found = looking.read(root).sets["train"]
    assert found.classes == ("class 0", "class 1", "class 2")
    assert found.palette == COLOURS.tolist()


def test_frames_of_a_video_file_by_number_and_by_second(tmp_path):
    clip = tmp_path / "train" / "frames" / "a.mkv"
    write(tmp_path, [labels().astype(np.uint8)], "a\nb\nc\n", frames=False)
    (tmp_path / "train" / "frames" / "a").rmdir()
    write_clip(clip, count=6, codec="ffv1")
    folder = tmp_path / "train" / "masks" / "a"
    (folder / "0.png").unlink()
    mask = np.random.default_rng(0).integers(0, 3, (64, 96)).astype(np.uint8)
    for name in ("a_000002", "0.16s"):
        cv2.imwrite(str(folder / f"{name}.png"), mask)
    found = looking.read(tmp_path).sets["train"]
    (snippet,) = found.snippets
    assert list(snippet.labelled) == [2, 4] and len(snippet.frames) == 6
    pair = read_pair(snippet, 4, 3, found.read_mask, False, False)
    np.testing.assert_array_equal(pair["mask"], mask)
    np.testing.assert_array_equal([pair["key"], pair["current"]], snippet.video.read([1, 4]))
    cv2.imwrite(str(folder / "7.png"), mask)
    with pytest.raises(SampleError, match=r"the mask 7\.png belongs to no frame of .* has 6"):
        looking.read(tmp_path)


def test_a_class_called_ignored_does_not_count_in_masks_of_numbers(tmp_path):
    wanted = labels()
    root = write(tmp_path, [wanted.astype(np.uint8)], "road\nignored\ncar\n")
    found = looking.read(root).sets["train"]
    assert found.classes == ("road", "car")
    read = found.read_mask(str(root / "train/masks/a/0.png"))
    np.testing.assert_array_equal(read, np.array([0, 255, 1])[wanted])
