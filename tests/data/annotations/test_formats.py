"""The same videos in every format give the same snippets; real ones, where they are at hand."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_writers import (
    Labelled,
    write_coco,
    write_cvat,
    write_mot,
    write_voc,
    write_yolo,
    write_youtube_vis,
)
from small import DATA

from dff.data.annotations import looking
from dff.data.datasets.imagenet_vid import snippets as imagenet_vid

TRACKS = DATA / "track_seqs"
REAL = ("Crossing", "MotorRolling", "Skiing", "boat1", "car-shadow", "MOT17-02-FRCNN", "VID")
FORMATS = ("coco", "grouped", "youtube_vis", "cvat", "yolo", "mot", "voc")


def drawn(root: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    files = []
    for i in range(6):
        file = root / f"{i:04d}.png"
        cv2.imwrite(str(file), rng.integers(0, 255, (48, 64, 3), np.uint8))
        files.append(file)
    return files


def video_of(name: str, folder: Path) -> tuple[Labelled, list[str]]:
    """A video and its classes; its frames are those of `folder`, which links to them."""
    if name == "drawn":
        images, classes, size = drawn(folder), ["cat", "dog"], (48, 64)
        boxes = [[(0, 3.5 + i, 4.0, 20.25, 30.0, 7), (1, 40, 2, 60, 40, 9)] for i in range(5)]
        return Labelled("drawn", images, [*boxes, []], size), classes
    if name == "VID":
        if not (DATA / "vid_mini").is_dir():
            pytest.skip("no real ImageNet VID beside the project")
        root = DATA / "vid_mini" / "ILSVRC2015"
        (snippet,) = imagenet_vid.find_snippets(root, "val", ["VID_val"], False)
        images = [Path(snippet.frames[n]) for n in snippet.labelled]
        boxes = []
        for n in snippet.labelled:
            corners, labels, tracks, size = snippet.boxes.boxes(n)
            assert set(labels.tolist()) <= {0}
            boxes.append([(0, *c, int(t)) for c, t in zip(corners.tolist(), tracks, strict=True)])
        return Labelled("VID", images, boxes, size), ["airplane"]
    if not TRACKS.is_dir():
        pytest.skip("no real tracked videos beside the project")
    if name.startswith("MOT17"):
        source = TRACKS / "MOT17-mini" / name
        images = sorted((source / "img1").glob("*.jpg"))
        boxes = [[] for _ in images]
        for line in (source / "gt" / "gt.txt").read_text().splitlines():
            frame, track, x, y, w, h, counts, *_ = (float(word) for word in line.split(","))
            if counts:
                x1, y1 = max(x - 1, 0), max(y - 1, 0)
                x2, y2 = min(x + w - 2, 1919), min(y + h - 2, 1079)
                boxes[int(frame) - 1].append((0, x1, y1, x2, y2, int(track)))
        return Labelled(name, images, boxes, (1080, 1920)), ["pedestrian"]
    told = json.loads((TRACKS / "sequences.json").read_text())[name]
    images = sorted((TRACKS / name / "img").glob("*.jpg"))
    rows = np.loadtxt(TRACKS / name / "boxes_xywh_0based.txt", delimiter=",", ndmin=2)
    height, width = cv2.imread(str(images[0])).shape[:2]
    boxes = []
    for x, y, w, h in rows:
        x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width) - 1, min(y + h, height) - 1
        boxes.append([(0, x1, y1, x2, y2, 1)])
    return Labelled(name, images[: len(boxes)], boxes, (height, width)), [told["cls"]]


def placed(video: Labelled, root: Path, place: str) -> Labelled:
    """The video with its frames linked below a root, numbered from 0; MOT counts from 1."""
    frames = []
    for i, frame in enumerate(video.frames):
        name = Path(place) / f"{i + place.endswith('img1'):06d}{frame.suffix}"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(frame, root / name)
        frames.append(name)
    return video._replace(frames=frames)


def write(format: str, video: Labelled, classes: list[str], root: Path) -> None:
    if format in ("coco", "grouped"):
        write_coco(root, [placed(video, root, "a")], classes, cocovid=format == "coco")
    elif format == "youtube_vis":
        write_youtube_vis(root, [placed(video, root, "a")], classes)
    elif format == "cvat":
        placed(video, root, video.name)
        write_cvat(root / "annotations.xml", video, classes)
    elif format == "yolo":
        write_yolo(root, [placed(video, root, "images/train/a")], classes)
    elif format == "mot":
        placed(video, root, f"{video.name}/img1")
        write_mot(root / video.name, video, classes)
    else:
        write_voc(root, placed(video, root, f"JPEGImages/{video.name}"), classes)


@pytest.mark.parametrize("name", ("drawn", *REAL))
@pytest.mark.parametrize("format", FORMATS)
def test_a_video_is_the_same_in_every_format(format, name, tmp_path):
    source = tmp_path / "source"
    root = tmp_path / "root"
    source.mkdir(), root.mkdir()
    video, classes = video_of(name, source)
    write(format, video, classes, root)
    splits = looking.read(root)
    (found,) = splits.sets.values()
    assert list(found.box_classes) == classes
    assert not list(found.findings)
    (snippet,) = found.snippets
    assert list(snippet.labelled) == list(range(len(video.frames))) == sorted(snippet.frames)
    for number, (frame, rows) in enumerate(zip(video.frames, video.boxes, strict=True)):
        assert os.path.realpath(snippet.frames[number]) == os.path.realpath(frame)
        corners, labels, tracks, size = snippet.boxes.boxes(number)
        wanted = np.array([row[1:5] for row in rows]).reshape(-1, 4)
        order = np.lexsort(wanted.T)
        mine = np.lexsort(corners.T)
        np.testing.assert_allclose(corners[mine], wanted[order], atol=1e-3)
        assert labels[mine].tolist() == [rows[i][0] for i in order]
        if format in ("coco", "youtube_vis", "cvat", "mot"):
            assert tracks[mine].tolist() == [rows[i][5] for i in order]
        assert size == tuple(video.size)
