"""Boxes in COCO's JSON: images, videos, and the traps of exports."""

import json

import cv2
import lightning as L
import numpy as np
import pytest

from dff.data.datasets.coco import find_snippets, read_coco
from dff.data.pair_files import read_pair
from dff.data.samples import SampleError
from dff.lit.datamodules.datasets import Coco
from dff.lit.module import LitDFF

SIZE = (72, 96)


def write(root, names, boxes, images=(), name="train.json", categories=None, **more):
    """`names` are file names, `boxes` rows of image, category, x, y, w, h."""
    for file in names:
        path = root / file.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((*SIZE, 3), 90, np.uint8))
    listed = [
        {"id": i + 10, "file_name": file, "width": SIZE[1], "height": SIZE[0]}
        | (images[i] if images else {})
        for i, file in enumerate(names)
    ]
    annotations = [
        {"id": i, "image_id": image + 10, "category_id": category, "bbox": box}
        | ({"instance_id": more["track"]} if "track" in more else {})
        | more.get("extra", {})
        for i, (image, category, *box) in enumerate(boxes)
    ]
    kinds = categories or [{"id": 3, "name": "car"}, {"id": 8, "name": "person"}]
    content = {"images": listed, "annotations": annotations, "categories": kinds}
    (root / name).write_text(json.dumps(content))
    return read_coco(root / name)


def test_frames_of_a_folder_are_a_video_with_the_unlisted_ones_between(tmp_path):
    file = write(
        tmp_path,
        ["a/f_002.png", "a/f_000.png", "b/x.png"],
        [(0, 8, 10, 20, 30, 40), (1, 3, 0, 0, 5, 5), (0, 3, 1, 1, 2, 2)],
    )
    for unlisted in ("a/f_001.png", "a/f_003.png", "a/g_001.png", "b/y.png"):
        cv2.imwrite(str(tmp_path / unlisted), np.zeros((*SIZE, 3), np.uint8))
    video, single = find_snippets(file, tmp_path)
    assert file.classes == ("car", "person")
    assert list(video.frames) == [0, 1, 2, 3] and list(video.labelled) == [0, 2]
    found = video.boxes.boxes(2)
    np.testing.assert_array_equal(found.corners, [[10, 20, 39, 59], [1, 1, 2, 2]])  # no +1
    assert found.labels.tolist() == [1, 0] and found.tracks.tolist() == [-1, -1]
    assert found.frame_size == SIZE
    assert single.name == "b/x.png" and list(single.labelled) == [0]
    assert len(single.boxes.boxes(0).corners) == 0  # an image without boxes has none
    pair = read_pair(video, 2, 1, None, False, True)
    assert pair["boxes"].shape == (2, 4) and pair["key"].shape == (*SIZE, 3)


def test_videos_by_cocovids_fields_keep_their_tracks(tmp_path):
    fields = [{"video_id": 4, "frame_id": i} for i in (0, 1)]
    names = ["x\\frame-a.png", "x\\frame-b.png"]  # backslashes of another system
    file = write(tmp_path, names, [(1, 3, 1, 1, 9, 9)], fields, track=7)
    (video,) = find_snippets(file, tmp_path)
    assert video.name == "video_4" and list(video.frames) == [0, 1]
    assert video.boxes.boxes(1).tracks.tolist() == [7]
    assert len(video.boxes.boxes(0).labels) == 0


def test_renamed_exports_are_never_paired(tmp_path):
    names = [f"img_{i:03d}_jpg.rf.{i}abc.jpg" for i in range(3)]
    assert len(find_snippets(write(tmp_path, names, []), tmp_path)) == 3


def test_ids_are_keys_with_holes_and_names_join_both_splits(tmp_path):
    train = write(tmp_path, ["a/0.png"], [(0, 8, 0, 0, 9, 9), (0, 3, 0, 0, 9, 9)])
    kinds = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    val = write(tmp_path, ["b/0.png"], [(0, 1, 0, 0, 9, 9)], name="val.json", categories=kinds)
    (snippet,) = find_snippets(val, tmp_path, train.classes)
    assert snippet.boxes.boxes(0).labels.tolist() == [1]
    other = [{"id": 1, "name": "dog"}]
    val = write(tmp_path, ["b/0.png"], [(0, 1, 0, 0, 9, 9)], name="val.json", categories=other)
    with pytest.raises(SampleError, match="the category 'dog', and the training has car, person"):
        find_snippets(val, tmp_path, train.classes)


def test_parents_and_crowds_are_left_out_and_that_is_said(tmp_path):
    kinds = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "car", "supercategory": "things"},
        {"id": 2, "name": "bus", "supercategory": "things"},
    ]
    with pytest.warns(UserWarning, match="left out are the categories things, .* and 1 boxes of"):
        file = write(
            tmp_path,
            ["a/0.png"],
            [(0, 1, 0, 0, 9, 9)],
            categories=kinds,
            extra={"iscrowd": 1},
        )
    assert file.classes == ("car", "bus") and not file.annotations


def test_boxes_beyond_their_image_are_clipped_and_counted(tmp_path):
    boxes = [(0, 3, 90, 60, 30, 30), (0, 3, 200, 10, 5, 5), (0, 3, 3, 3, 0, 0)]
    file = write(tmp_path, ["a/0.png"], boxes)
    with pytest.warns(UserWarning, match="1 were clipped to their image, 2 had no area"):
        (snippet,) = find_snippets(file, tmp_path)
    np.testing.assert_array_equal(snippet.boxes.boxes(0).corners, [[90, 60, 95, 71]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "has no list of images"),
        ('{"images": [], "annotations": 3, "categories": []}', "has no list of annotations"),
        ('{"images": [], "annotations": [], "categories": []}', "has no category"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "without 'file_name'"),
        (
            '{"images": [{"id": 1, "file_name": "a"}], "categories": [], '
            '"annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}]}',
            "uses category 2, which it does not list",
        ),
        (
            '{"images": [], "categories": [{"id": 2, "name": "a"}], '
            '"annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}]}',
            "has 1 boxes of images that it does not list, such as 1",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}], '
            '"annotations": [], "categories": []}',
            "lists 1 images twice, such as a",
        ),
    ],
)
def test_a_file_that_is_none_is_told_in_one_sentence(content, said, tmp_path):
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(SampleError, match=said) as told:
        read_coco(tmp_path / "train.json")
    assert "\n" not in str(told.value) and "export the labels again" in str(told.value)


def test_what_is_wrong_with_images_and_boxes_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no COCO file at"):
        read_coco(tmp_path / "none.json")
    file = write(tmp_path, ["a/0.png"], [(0, 3, 0, 0, 9, "wide")])
    with pytest.raises(SampleError, match=r"\[0, 0, 9, 'wide'\] of image 10 is no four numbers"):
        find_snippets(file, tmp_path)
    file = write(tmp_path, ["a/0.png"], [])
    (tmp_path / "a" / "0.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"lists a/0.png, and there is no .*--data.root"):
        find_snippets(file, tmp_path)
    frames = [{"video_id": 1, "frame_id": 0}, {"video_id": 1, "frame_id": 0}]
    file = write(tmp_path, ["a/0.png", "a/1.png"], [], frames)
    with pytest.raises(SampleError, match=r"a/1.png and a/0.png are both frame 0 of video_1"):
        find_snippets(file, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_detector_trains_and_is_evaluated_on_it(tmp_path):
    names = [f"a/{i}.png" for i in range(4)]
    write(tmp_path, names, [(i, 3, 5 + i, 5, 40, 30) for i in range(4)])
    write(tmp_path, names, [(3, 8, 5, 5, 40, 30)], name="val.json")
    data = Coco(str(tmp_path), num_workers=0, val_gaps=[0, 1], size=(64, 64))
    module = LitDFF(
        "resnet18",
        "flownet_half",
        feature_channels=16,
        heads={"detection": 1.0},
        num_box_classes=2,
        optimizer="adamw",
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, data)
    assert module.tasks["detection"].classes == ["car", "person"]
    (found,) = trainer.validate(module, data, verbose=False)
    assert 0 <= found["val/map"] <= 1
