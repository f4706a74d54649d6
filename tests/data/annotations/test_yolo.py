"""YOLO's text files, with their traps."""

import cv2
import numpy as np
import pytest

from dff.data.annotations.formats.yolo import label_file, read_yolo
from dff.data.pair_files import read_pair
from dff.data.samples import SampleError

YAML = "train: images/train\nval: images/val\nnames: [car, dog]\n"


def write(root, texts, yaml=YAML, folder="images/train/a"):
    (root / "data.yaml").write_text(yaml)
    for i, text in enumerate(texts):
        image = root / folder / f"f_{i:03d}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), np.zeros((50, 100, 3), np.uint8))
        if text is not None:
            label_file(str(image)).parent.mkdir(parents=True, exist_ok=True)
            label_file(str(image)).write_text(text)
    return root / "data.yaml"


@pytest.fixture
def val(tmp_path):
    write(tmp_path, [""], folder="images/val/b")
    return tmp_path


def test_shares_become_pixels_and_an_empty_file_is_not_a_missing_one(val):
    found = read_yolo(write(val, ["1 0.5 0.5 0.2 0.4\n0 0.05 0.1 0.1 0.2 0.9", "", None]))
    train = found["train"]
    (snippet,) = train.snippets
    assert train.box_classes == ("car", "dog") and not train.classes
    assert list(snippet.labelled) == [0, 1] and list(snippet.frames) == [0, 1, 2]
    boxes = snippet.boxes.boxes(0)
    np.testing.assert_allclose(boxes.corners, [[40, 15, 59, 34], [0, 0, 9, 9]], atol=1e-4)
    assert boxes.labels.tolist() == [1, 0] and boxes.frame_size == (50, 100)
    assert not len(snippet.boxes.boxes(1).labels)
    assert train.findings.notes[-1] == "1 images have no text file and are taken as not labelled"
    assert [s.name for s in found["val"].snippets] == ["images/val/b/f_"]


def test_polygons_give_boxes_and_masks(val):
    file = write(val, ["1 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6"])
    assert "polygons too" in read_yolo(file)["train"].findings.notes[-1]
    train = read_yolo(file, with_masks=True)["train"]
    (snippet,) = train.snippets
    pair = read_pair(snippet, 0, 0, train.read_mask, False, True)
    wanted = np.zeros((50, 100), np.uint8)
    wanted[10:30, 10:30] = 2
    np.testing.assert_array_equal(pair["mask"], wanted)
    np.testing.assert_allclose(pair["boxes"], [[10, 10, 29, 29]], atol=1e-4)


def test_renamed_exports_are_single_images(val):
    for i in range(2):
        name = f"drive_{i:03d}_png.rf.{'ab'[i] * 8}"
        cv2.imwrite(str(val / "images" / "val" / "b" / f"{name}.png"), np.zeros((9, 9, 3)))
        (val / "labels" / "val" / "b" / f"{name}.txt").write_text("")
    assert [len(s.frames) for s in read_yolo(write(val, [""]))["val"].snippets] == [1, 1, 1]


def test_lists_of_images_and_numbered_names(val):
    yaml = "train: train.txt\nnames: {0: car, 1: dog}\n"
    file = write(val, ["0 0.5 0.5 1 1", "0 0.5 0.5 1 1"], yaml)
    (val / "train.txt").write_text("./images/train/a/f_001.png\n")
    (snippet,) = read_yolo(file)["train"].snippets
    assert list(snippet.frames) == [1] and snippet.boxes.boxes(1).corners.tolist() == [
        [0, 0, 99, 49]
    ]


@pytest.mark.parametrize(
    ("text", "yaml", "said"),
    [
        ("2 0.5 0.5 0.1 0.1", YAML, "class 2 in .*line 1, of 2 classes"),
        ("0 320 240 64 48", YAML, "boxes are in pixels, not in shares"),
        ("car 0.5 0.5 0.1 0.1", YAML, "neither class x y width height nor a polygon: 1"),
        ("", "train: images/train\n", "names no classes"),
        ("", "train: images/none\nnames: [a]\n", "names images/none, and there is no"),
        ("", "names: {0: a, 2: b}\ntrain: images/train\n", "without holes"),
        ("", "a: [", "is no YAML"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(text, yaml, said, val):
    with pytest.raises((SampleError, FileNotFoundError), match=said) as told:
        read_yolo(write(val, [text], yaml))["train"].findings.refuse()
    assert "\n" not in str(told.value)
