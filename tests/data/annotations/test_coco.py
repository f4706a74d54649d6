"""Boxes in COCO's JSON: images, videos, and the traps of exports."""

import json

import cv2
import lightning as L
import numpy as np
import pytest

from dff.data.annotations.annotation_set import with_classes_of
from dff.data.annotations.formats.coco import read_coco
from dff.data.pair_files import read_pair
from dff.data.samples import SampleError
from dff.lit.datamodules.own_data import Coco
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
    return read_coco(root / name, root)


def told(found):
    return [*found.findings.notes, *map(str, found.findings)]


def test_frames_of_a_folder_are_a_video_with_the_unlisted_ones_between(tmp_path):
    for unlisted in ("a/f_001.png", "a/f_003.png", "a/g_001.png", "b/y.png"):
        (tmp_path / unlisted).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / unlisted), np.zeros((*SIZE, 3), np.uint8))
    found = write(
        tmp_path,
        ["a/f_002.png", "a/f_000.png", "b/x.png"],
        [(0, 8, 10, 20, 30, 40), (1, 3, 0, 0, 5, 5), (0, 3, 1, 1, 2, 2)],
    )
    video, single = found.snippets
    (note,) = found.findings.notes
    assert note.endswith("1 videos, such as a/f_ with 2 frames, and 1 single images")
    assert found.box_classes == ("car", "person")
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
    (video,) = write(tmp_path, names, [(1, 3, 1, 1, 9, 9)], fields, track=7).snippets
    assert video.name == "video_4" and list(video.frames) == [0, 1]
    assert video.boxes.boxes(1).tracks.tolist() == [7]
    assert len(video.boxes.boxes(0).labels) == 0


def test_renamed_exports_are_never_paired(tmp_path):
    names = [f"img_{i:03d}_jpg.rf.{i}abc.jpg" for i in range(3)]
    assert [len(s.frames) for s in write(tmp_path, names, []).snippets] == [1, 1, 1]


def test_ids_are_keys_with_holes_and_names_join_both_splits(tmp_path):
    train = write(tmp_path, ["a/0.png"], [(0, 8, 0, 0, 9, 9), (0, 3, 0, 0, 9, 9)])
    kinds = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    val = write(tmp_path, ["b/0.png"], [(0, 1, 0, 0, 9, 9)], name="val.json", categories=kinds)
    (snippet,) = with_classes_of(val, train).snippets
    assert snippet.boxes.boxes(0).labels.tolist() == [1]
    other = [{"id": 1, "name": "dog"}, {"id": 5, "name": "car"}]
    val = write(tmp_path, ["b/0.png"], [(0, 1, 0, 0, 9, 9)], name="val.json", categories=other)
    with pytest.raises(SampleError, match="class 'dog', and the training has car, person"):
        with_classes_of(val, train)
    # one that is listed and not used does no harm
    val = write(tmp_path, ["b/0.png"], [(0, 5, 0, 0, 9, 9)], name="val.json", categories=other)
    assert with_classes_of(val, train).snippets[0].boxes.boxes(0).labels.tolist() == [0]


def test_ids_may_be_words(tmp_path):
    kinds = [{"id": "c", "name": "car"}]
    (snippet,) = write(tmp_path, ["a/0.png"], [(0, "c", 0, 0, 9, 9)], categories=kinds).snippets
    assert snippet.boxes.boxes(0).labels.tolist() == [0]


def test_parents_are_left_out_and_that_is_said(tmp_path):
    kinds = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "car", "supercategory": "things"},
        {"id": 2, "name": "bus", "supercategory": "things"},
    ]
    found = write(tmp_path, ["a/0.png"], [(0, 1, 0, 0, 9, 9)], categories=kinds)
    assert found.box_classes == ("car", "bus")
    assert "the categories things of train.json only have others below them" in told(found)[0]


def test_crowds_are_regions_to_ignore(tmp_path):
    found = write(tmp_path, ["a/0.png"], [(0, 8, 0, 0, 9, 9)], extra={"iscrowd": 1})
    assert found.snippets[0].boxes.boxes(0).labels.tolist() == [-3]  # a crowd of class 1


def test_boxes_beyond_their_image_are_clipped_and_counted(tmp_path):
    boxes = [(0, 3, 90, 60, 30, 30), (0, 3, 200, 10, 5, 5), (0, 3, 3, 3, 0, 0), (0, 3, 1, 1, 2, 2)]
    found = write(tmp_path, ["a/0.png"], [*boxes, boxes[-1]])
    np.testing.assert_array_equal(
        found.snippets[0].boxes.boxes(0).corners, [[90, 60, 95, 71], [1, 1, 2, 2]]
    )
    assert [(p.what.split(" and")[0], p.count, p.stops) for p in found.findings] == [
        ("boxes reach beyond their image", 1, False),
        ("boxes lie outside of their image", 1, False),
        ("boxes have no width or height", 1, False),
        ("boxes are there twice", 1, False),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "has no list of images"),
        ('{"images": [], "annotations": 3, "categories": []}', "has no list of annotations"),
        ('{"images": [], "annotations": [], "categories": []}', "has no category"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "without 'file_name'"),
        (
            '{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 3, "name": "a"}], '
            '"annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}]}',
            "a category that the file does not list: 1 .category 2 of image 1",
        ),
        (
            '{"images": [], "categories": [{"id": 2, "name": "a"}], '
            '"annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}]}',
            "belong to images that the file does not list: 1 .image 1",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}], '
            '"annotations": [], "categories": [{"id": 3, "name": "a"}]}',
            "images are listed more than once: 1 .a",
        ),
    ],
)
def test_a_file_that_is_none_is_told_in_one_sentence(content, said, tmp_path):
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(SampleError, match=said) as raised:
        read_coco(tmp_path / "train.json", tmp_path).findings.refuse()
    assert "\n" not in str(raised.value) and "export the labels again" in str(raised.value)


def test_what_is_wrong_with_images_and_boxes_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no COCO file at"):
        read_coco(tmp_path / "none.json", tmp_path)
    found = write(tmp_path, ["a/0.png"], [(0, 3, 0, 0, 9, "wide")])
    with pytest.raises(SampleError, match=r"no four numbers.*\[0, 0, 9, 'wide'\] of image 10"):
        found.findings.refuse()
    write(tmp_path, ["a/0.png"], [])
    (tmp_path / "a" / "0.png").unlink()
    with pytest.raises(SampleError, match=r"listed and are not there: 1 .*a/0.png.*--data.root"):
        read_coco(tmp_path / "train.json", tmp_path).findings.refuse()
    frames = [{"video_id": 1, "frame_id": 0}, {"video_id": 1, "frame_id": 0}]
    found = write(tmp_path, ["a/0.png", "a/1.png"], [], frames)
    with pytest.raises(SampleError, match=r"a/1.png and a/0.png, both frame 0"):
        found.findings.refuse()


def test_masks_are_drawn_of_polygons_and_runs_smaller_objects_above(tmp_path):
    square = [[10, 10, 30, 10, 30, 30, 10, 30]]
    found = write(tmp_path, ["a/0.png"], [(0, 3, 10, 10, 20, 20)], extra={"segmentation": square})
    assert not found.classes and "has outlines too" in told(found)[-1]
    content = json.loads((tmp_path / "train.json").read_text())
    small = np.zeros(SIZE, bool)
    small[12:14, 20:25] = True
    runs = np.flatnonzero(np.diff(np.r_[0, small.T.ravel(), 1 - small.T.ravel()[-1]]))
    counts = np.diff(np.r_[0, runs, small.size]).tolist()
    entry = {"image_id": 10, "category_id": 8, "area": 10}
    content["annotations"] += [
        entry | {"segmentation": {"size": list(SIZE), "counts": [c for c in counts if c]}},
        entry | {"iscrowd": 1, "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]], "area": 1},
    ]
    (tmp_path / "train.json").write_text(json.dumps(content))
    found = read_coco(tmp_path / "train.json", tmp_path, with_masks=True)
    assert found.classes == ("background", "car", "person")
    (snippet,) = found.snippets
    wanted = np.zeros(SIZE, np.uint8)
    wanted[10:30, 10:30] = 1
    wanted[small] = 2
    wanted[:5, :5] = 255
    pair = read_pair(snippet, 0, 0, found.read_mask, False, True)
    np.testing.assert_array_equal(pair["mask"], wanted)
    assert pair["boxes"].tolist() == [[10, 10, 29, 29], [20, 12, 24, 13], [0, 0, 4, 4]]


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
