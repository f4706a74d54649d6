import os
import time

import numpy as np
import pytest
from small import DATA

from dff.data.datasets.cityscapes import (
    BOX_CLASSES,
    CLASSES,
    LABEL_ID_TO_BOX_CLASS,
    LABEL_ID_TO_TRAIN_ID,
    PALETTE,
    TRAIN_ID_TO_LABEL_ID,
    find_snippets,
    read_instance_boxes,
    read_train_ids,
)
from dff.data.files.images import read_image, write_png
from dff.data.samples import SampleError, describe

MINI = DATA / "cityscapes_mini"
needs_mini = pytest.mark.skipif(not MINI.is_dir(), reason=f"no real Cityscapes frames at {MINI}")


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def frame(root, city, sequence, number, split="train", suffix="png", package="_sequence"):
    name = f"{city}_{sequence:06d}_{number:06d}_leftImg8bit.{suffix}"
    touch(root / f"leftImg8bit{package}" / split / city / name)


def labels(root, city, sequence, number, split="train"):
    name = f"{city}_{sequence:06d}_{number:06d}_gtFine"
    for kind in ("labelIds.png", "instanceIds.png", "color.png", "polygons.json"):
        touch(root / "gtFine" / split / city / f"{name}_{kind}")


def test_the_19_classes_are_those_of_the_benchmark():
    assert len(CLASSES) == len(set(CLASSES)) == 19
    assert (CLASSES[0], CLASSES[13], CLASSES[18]) == ("road", "car", "bicycle")
    assert tuple(PALETTE[0]) == (128, 64, 128)
    assert tuple(PALETTE[13]) == (0, 0, 142)
    assert PALETTE.shape == (19, 3) and PALETTE.dtype == np.uint8
    assert LABEL_ID_TO_TRAIN_ID[[7, 26, 33]].tolist() == [0, 13, 18]
    assert (LABEL_ID_TO_TRAIN_ID == 255).sum() == 256 - 19
    assert LABEL_ID_TO_TRAIN_ID[TRAIN_ID_TO_LABEL_ID[:19]].tolist() == list(range(19))
    assert not TRAIN_ID_TO_LABEL_ID[19:].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_ids_become_train_ids(tmp_path, dtype):
    write_png(tmp_path / "a.png", np.array([[0, 7, 8, 26], [33, 29, 255, 34 - 1]], dtype))
    ids = read_train_ids(tmp_path / "a.png")
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[255, 0, 1, 13], [18, 255, 255, 18]]


@pytest.mark.parametrize("dtype, wrong", [(np.uint8, 34), (np.uint8, 254), (np.uint16, 26001)])
def test_an_id_that_is_no_label_id_is_named_with_its_file(tmp_path, dtype, wrong):
    write_png(tmp_path / "a.png", np.array([[7, wrong]], dtype))
    with pytest.raises(SampleError, match=rf"a\.png holds the ids {wrong}, but .* 0\.\.33 and 255"):
        read_train_ids(tmp_path / "a.png")


def test_frames_and_labels_are_grouped_into_snippets(tmp_path):
    for number in (17, 18, 20):  # starts late, and has a hole
        frame(tmp_path, "ulm", 3, number)
    frame(tmp_path, "aachen", 0, 0, suffix="jpg")
    labels(tmp_path, "ulm", 3, 20)
    labels(tmp_path, "aachen", 0, 0)
    aachen, ulm = find_snippets(tmp_path, "train")
    assert (aachen.name, ulm.name) == ("aachen/aachen_000000", "ulm/ulm_000003")
    assert list(ulm.frames) == [17, 18, 20] and list(ulm.masks) == [20]
    assert ulm.frames[18].endswith("sequence/train/ulm/ulm_000003_000018_leftImg8bit.png")
    assert ulm.masks[20].endswith("gtFine/train/ulm/ulm_000003_000020_gtFine_labelIds.png")


def test_a_labelled_frame_is_also_looked_for_among_the_single_images(tmp_path):
    frame(tmp_path, "ulm", 3, 18)
    for number in (19, 20):
        labels(tmp_path, "ulm", 3, number)
    frame(tmp_path, "ulm", 3, 19, package="")
    frame(tmp_path, "ulm", 3, 21, package="")  # not labelled: left where it is
    found = find_snippets(tmp_path, "train")
    assert list(found[0].frames) == [18, 19] and list(found[0].masks) == [19]
    assert f"{os.sep}leftImg8bit{os.sep}" in found[0].frames[19]
    assert found.labels_left_out == 1
    assert "1 label file without an image" in describe(found)


def test_single_images_alone_are_enough(tmp_path):
    frame(tmp_path, "ulm", 3, 19, package="")
    labels(tmp_path, "ulm", 3, 19)
    assert list(find_snippets(tmp_path, "train")[0].frames) == [19]


def test_a_frame_that_is_there_twice_is_taken_as_png(tmp_path):
    labels(tmp_path, "ulm", 3, 19)
    for suffix in ("png", "jpg", "jpeg"):
        frame(tmp_path, "ulm", 3, 19, suffix=suffix)
    assert find_snippets(tmp_path, "train")[0].frames[19].endswith(".png")


def test_snippets_without_labels_are_for_prediction_only(tmp_path):
    frame(tmp_path, "ulm", 3, 19)
    frame(tmp_path, "ulm", 4, 19)
    labels(tmp_path, "ulm", 3, 19)
    assert len(find_snippets(tmp_path, "train")) == 1
    assert len(find_snippets(tmp_path, "train", require_labels=False)) == 2
    frame(tmp_path, "bonn", 1, 0, split="test")
    assert len(find_snippets(tmp_path, "test", require_labels=False)) == 1


def test_the_true_flow_is_attached_by_name(tmp_path):
    for sequence in (3, 4):
        frame(tmp_path, "ulm", sequence, 19)
        labels(tmp_path, "ulm", sequence, 19)
    truths = {"ulm/ulm_000004": object()}
    found = find_snippets(tmp_path, "train", truth=truths.get)
    assert [snippet.truth for snippet in found] == [None, truths["ulm/ulm_000004"]]


def test_the_description_counts_what_a_training_would_miss(tmp_path):
    for number in (0, 1, 19):
        frame(tmp_path, "ulm", 3, number)
    for number in (1, 19):
        labels(tmp_path, "ulm", 3, number)
    assert describe(find_snippets(tmp_path, "train")) == (
        "2 labelled frames in 1 snippet, 3 frames; "
        "1 labelled frame without an earlier frame (gap 0 only)"
    )


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("root", r"no folder .*data: unpack leftImg8bit_sequence_trainvaltest\.zip"),
        ("split", r"no \*_gtFine_labelIds\.png in .*gtFine/train: unpack .* or set --data\.root"),
        ("empty", r"no \*_gtFine_labelIds\.png in .*gtFine/train: unpack"),
        ("no labels", r"no \*_gtFine_labelIds\.png in .*gtFine/train: unpack"),
        ("no frames", r"no \*_leftImg8bit\.png or \.jpg in .*sequence/train.*: unpack"),
        ("strangers", r"none of the 1 label files in .*gtFine/train has its frame in .*: unpack"),
    ],
)
def test_what_is_missing_is_named_with_the_cure(tmp_path, wrong, message):
    root = tmp_path / "data"
    if wrong != "root":
        root.mkdir()
    if wrong == "split":
        frame(root, "ulm", 3, 19, split="val")
        labels(root, "ulm", 3, 19, split="val")
    if wrong == "empty":
        (root / "leftImg8bit_sequence/train/ulm").mkdir(parents=True)
        (root / "gtFine/train/ulm").mkdir(parents=True)
    if wrong in ("no labels", "strangers"):
        frame(root, "ulm", 3, 19)
    if wrong == "no frames":
        labels(root, "ulm", 3, 19)
    if wrong == "strangers":
        labels(root, "ulm", 3, 20)
    with pytest.raises(FileNotFoundError, match=message):
        find_snippets(root, "train")


def test_listing_300_snippets_of_30_frames_takes_no_time(tmp_path):
    for city in ("aachen", "ulm", "bonn"):
        folder = tmp_path / "leftImg8bit_sequence/train" / city
        folder.mkdir(parents=True)
        for sequence in range(100):
            labels(tmp_path, city, sequence, 19)
            for number in range(30):
                (folder / f"{city}_{sequence:06d}_{number:06d}_leftImg8bit.png").touch()
    start = time.perf_counter()
    found = find_snippets(tmp_path, "train")
    assert time.perf_counter() - start < 2
    assert len(found) == 300
    assert all(list(s.frames) == list(range(30)) and list(s.masks) == [19] for s in found)


@needs_mini
def test_the_real_thing_is_found():
    train, val = find_snippets(MINI, "train"), find_snippets(MINI, "val")
    assert len(train) == 8 and train.labels_left_out == 0
    assert list(train[0].frames) == [*range(10), 19] and list(train[0].masks) == [19]
    assert [(s.name, len(s.frames), list(s.masks)) for s in val] == [
        ("frankfurt/frankfurt_000001", 15, [47552])
    ]
    assert "label files without an image left out" in describe(val)


@needs_mini
def test_the_real_thing_is_read():
    snippet = find_snippets(MINI, "val")[0]
    ids = read_train_ids(snippet.masks[47552])
    assert ids.shape == (1024, 2048) == read_image(snippet.frames[47552]).shape[:2]
    assert set(np.unique(ids)) <= {*range(19), 255}
    assert (ids[700:] == CLASSES.index("road")).mean() > 0.2


def instances(path, *numbered):
    """Writes an instanceIds file with rectangles (id, x1, y1, x2, y2), inclusive."""
    ids = np.full((60, 100), 7, np.uint16)
    for number, x1, y1, x2, y2 in numbered:
        ids[y1 : y2 + 1, x1 : x2 + 1] = number
    write_png(path, ids)


def test_the_8_classes_of_boxes_are_those_with_instances():
    assert BOX_CLASSES == (
        *("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    )
    assert LABEL_ID_TO_BOX_CLASS[[24, 26, 33]].tolist() == [0, 2, 7]
    assert (LABEL_ID_TO_BOX_CLASS >= 0).sum() == 8


def test_instances_become_boxes_and_groups_do_not(tmp_path):
    instances(
        tmp_path / "a.png",
        (26000, 0, 0, 10, 5),
        (26001, 20, 30, 20, 30),  # one pixel
        (24, 40, 0, 60, 20),  # a crowd
        (24003, 90, 50, 99, 59),
        (30001, 70, 5, 80, 9),  # a trailer, which is none of the classes
    )
    boxes = read_instance_boxes(tmp_path / "a.png")
    assert boxes.corners.tolist() == [[90, 50, 99, 59], [0, 0, 10, 5], [20, 30, 20, 30]]
    assert boxes.labels.tolist() == [0, 2, 2] and boxes.tracks.tolist() == [-1, -1, -1]
    assert boxes.frame_size == (60, 100)
    assert (boxes.corners.dtype, boxes.labels.dtype) == (np.float32, np.int64)
    instances(tmp_path / "b.png")
    assert read_instance_boxes(tmp_path / "b.png").corners.shape == (0, 4)


def test_an_instances_file_that_cannot_be_used_is_named(tmp_path):
    instances(tmp_path / "a.png", (7001, 0, 0, 10, 5))
    with pytest.raises(SampleError, match=r"a\.png holds the instances 7001, but .* bicycle: use"):
        read_instance_boxes(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:-20])
    with pytest.raises(SampleError, match=r"b\.png is cut short"):
        read_instance_boxes(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError, match=r"c\.png is missing.*unpack gtFine.*with_boxes"):
        read_instance_boxes(tmp_path / "c.png")


def test_snippets_know_their_boxes(tmp_path):
    frame(tmp_path, "ulm", 3, 19)
    labels(tmp_path, "ulm", 3, 19)
    folder = tmp_path / "gtFine" / "train" / "ulm"
    instances(folder / "ulm_000003_000019_gtFine_instanceIds.png", (33002, 3, 4, 5, 6))
    (snippet,) = find_snippets(tmp_path, "train")
    assert snippet.boxes.boxes(19).corners.tolist() == [[3, 4, 5, 6]]
    better = {"ulm/ulm_000003": object()}
    (snippet,) = find_snippets(tmp_path, "train", boxes=better.get)
    assert snippet.boxes is better["ulm/ulm_000003"]


@needs_mini
def test_real_instances_lie_in_masks_of_their_class():
    for snippet in find_snippets(MINI, "train"):
        for number, path in snippet.masks.items():
            boxes, mask = snippet.boxes.boxes(number), read_train_ids(path)
            assert boxes.frame_size == mask.shape == (1024, 2048)
            assert len(boxes.labels) > 0
            for (x1, y1, x2, y2), label in zip(
                boxes.corners.astype(int), boxes.labels, strict=True
            ):
                here = mask[y1 : y2 + 1, x1 : x2 + 1] == CLASSES.index(BOX_CLASSES[label])
                # each border of the box touches the class
                assert here[0].any() and here[-1].any()
                assert here[:, 0].any() and here[:, -1].any()
