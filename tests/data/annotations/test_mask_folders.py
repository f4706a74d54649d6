"""Masks in a folder beside that of their images, as other projects and tools lay them out."""

import cv2
import numpy as np
import pytest
from PIL import Image

from dff.data.annotations import looking
from dff.data.pair_files import read_pair
from dff.data.samples import SampleError

COLOURS = np.array([(0, 0, 0), (128, 64, 128), (64, 0, 128)], np.uint8)
LABELMAP = (
    "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:64,0,128::\n"
)
CLASS_DICT = "name,r,g,b\nbackground, 0, 0, 0\nroad, 128, 64, 128\ncar, 64, 0, 128\n"


def labels(seed=0):
    return np.random.default_rng(seed).integers(0, 3, (12, 16)).astype(np.uint8)


def put(root, image, mask=None, drawn=None, suffix=".jpg"):
    """An image, and its mask."""
    for path, picture in ((image + suffix, np.zeros((12, 16, 3), np.uint8)), (mask, drawn)):
        if path:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / path)


LAYOUTS = {
    "CamVid of SegNet": ("{split}/{name}", "{split}annot/{name}.png"),
    "MMSegmentation": ("img_dir/{split}/{name}", "ann_dir/{split}/{name}.png"),
    "folders of a split": ("{split}/images/{name}", "{split}/masks/{name}.png"),
    "labels with an ending": ("{split}/{name}", "{split}_labels/{name}_L.png"),
    "videos in folders": ("images/{split}/a/{name}", "annotations/{split}/a/{name}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_two_splits(layout, tmp_path):
    image, mask = LAYOUTS[layout]
    (tmp_path / "classes.txt").write_text("background\nroad\ncar\n")
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            place = {"split": split, "name": f"drive_{number:03d}"}
            drawn = labels(number) if number != 1 else None
            put(tmp_path, image.format(**place), drawn is not None and mask.format(**place), drawn)
    found = looking.read(tmp_path)
    assert "has masks of the images in" in found.found
    (train,), (val,) = found.sets["train"].snippets, found.sets["val"].snippets
    assert list(train.frames) == [0, 1, 2, 3] and list(train.labelled) == [0, 2, 3]
    assert list(val.labelled) == [0]
    read = found.sets["train"].read_mask
    pair = read_pair(train, 2, 1, read, False, False)
    np.testing.assert_array_equal(pair["mask"], labels(2))


def test_training_and_validation_as_ade20k_has_them(tmp_path):
    (tmp_path / "classes.txt").write_text("background\nroad\ncar\n")
    for split in ("training", "validation"):
        put(tmp_path, f"images/{split}/x", f"annotations/{split}/x.png", labels())
    assert set(looking.read(tmp_path).sets) == {"train", "val"}


@pytest.mark.parametrize("kind", ["colours", "palette"])
@pytest.mark.parametrize("classes", ["labelmap.txt", "class_dict.csv"])
def test_cvats_masks_and_lists_of_splits(kind, classes, tmp_path):
    (tmp_path / classes).write_text(LABELMAP if "map" in classes else CLASS_DICT)
    order = np.array([2, 0, 1])  # the numbers of a palette need not be those of the classes
    for number in range(3):
        wanted = labels(number)
        put(
            tmp_path, f"JPEGImages/v_{number}", f"SegmentationClass/v_{number}.png", COLOURS[wanted]
        )
        if kind == "palette":
            picture = Image.fromarray(np.argsort(order)[wanted].astype(np.uint8), "P")
            picture.putpalette(COLOURS[order].ravel().tolist())
            picture.save(tmp_path / f"SegmentationClass/v_{number}.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    found = looking.read(tmp_path)
    assert set(found.sets) == {"all"}
    (lists / "train.txt").write_text("v_0\nv_2\n")
    (lists / "val.txt").write_text("v_1\n")
    (lists / "trainval.txt").write_text("v_0\nv_1\nv_2\n")  # Pascal VOC has it beside the others
    found = looking.read(tmp_path)
    assert {split: list(s.snippets[0].labelled) for split, s in found.sets.items()} == {
        "train": [0, 2],
        "val": [1],
    }
    train = found.sets["train"]
    assert train.classes == ("background", "road", "car") and train.palette == COLOURS.tolist()
    read = train.read_mask(str(tmp_path / "SegmentationClass" / "v_2.png"))
    np.testing.assert_array_equal(read, labels(2))
    void = COLOURS[labels()]
    void[2, 3] = 224, 224, 192  # Pascal VOC's, of which no list tells
    Image.fromarray(void).save(tmp_path / "SegmentationClass" / "v_0.png")
    if kind == "colours":
        assert train.read_mask(str(tmp_path / "SegmentationClass" / "v_0.png"))[2, 3] == 255


def test_masks_of_no_image_are_counted(tmp_path):
    (tmp_path / "classes.txt").write_text("background\nroad\ncar\n")
    put(tmp_path, "images/a", "masks/a.png", labels())
    cv2.imwrite(str(tmp_path / "masks" / "b.png"), labels())
    (problem,) = looking.read(tmp_path).sets["all"].findings
    assert "masks belong to no frame" in str(problem) and "1" in str(problem)


def test_images_beside_boxes_of_yolo_are_no_masks(tmp_path):
    put(tmp_path, "images/a")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .1 .1\n")
    with pytest.raises(SampleError, match=r"no labels of a known kind .* JPEGImages/ and Segm"):
        looking.read(tmp_path)


def test_a_damaged_list_of_classes_is_told(tmp_path):
    put(tmp_path, "images/a", "masks/a.png", COLOURS[labels()])
    (tmp_path / "labelmap.txt").write_text("background:0,0::\n")
    with pytest.raises(SampleError, match=r"labelmap\.txt has the line 'background:0:0': wanted"):
        looking.read(tmp_path)
