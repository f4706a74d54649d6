"""`dff check`: each kind of broken data is named, once, and nothing else; good data has nothing."""

import json
import shutil

import cv2
import numpy as np
import pytest
from clips import write_clip
from label_writers import Labelled, write_coco, write_cvat

from dff.commands.data.check import FORMATS, KINDS, main
from dff.data.annotations.looking import Format, read
from dff.data.annotations.masks import MaskKind
from dff.inference.own_data.inspection import inspect

SIZE = (72, 96)
CLASSES = ["car", "dog"]


def picture(seed):
    small = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), np.uint8)
    return cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_NEAREST)


def coco(root):
    """Two splits of one video each, frames 0 to 3, boxes of both classes."""
    for split in ("train", "val"):
        (root / split).mkdir()
        frames = []
        for i in range(4):
            cv2.imwrite(str(root / split / f"{i}.png"), picture(i + 10 * (split == "val")))
            frames.append(f"{split}/{i}.png")
        boxes = [[(0, 5 + i, 5, 40, 40, 1), (1, 50, 30, 80, 60, 2)] for i in range(4)]
        video = Labelled(split, frames, boxes, SIZE)
        write_coco(root, [video], CLASSES, f"{split}.json", cocovid=False)
    return root


def masks(root):
    for split in ("train", "val"):
        for kind in ("frames", "masks"):
            (root / split / kind / "a").mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(root / split / "frames" / "a" / f"{i}.png"), picture(i))
            mask = np.zeros(SIZE, np.uint8)
            mask[:, i + 5 :] = 1
            cv2.imwrite(str(root / split / "masks" / "a" / f"{i}.png"), mask)
    (root / "classes.txt").write_text("road\ncar\n")
    return root


def cvat(root):
    write_clip(root / "clip.mp4", count=6)
    boxes = [[(0, 5 + i, 5, 40, 40, 1)] for i in range(6)]
    write_cvat(root / "annotations.xml", Labelled("t", [], boxes, (64, 96)), ["car"], "clip.mp4")
    return root


def change_coco(root, change, name="train.json"):
    content = json.loads((root / name).read_text())
    change(content)
    (root / name).write_text(json.dumps(content))


def overwrite(file, array):
    cv2.imwrite(str(file), array)


BROKEN = {
    "files missing": (coco, lambda r: (r / "train" / "2.png").unlink(), "listed and are not there"),
    "labels of another size": (
        coco,
        lambda r: overwrite(r / "train" / "2.png", picture(2)[:, :50]),
        "frames of one video differ in size|labels have another size",
    ),
    "masks of another size": (
        masks,
        lambda r: overwrite(r / "train/masks/a/1.png", np.ones((9, 9), np.uint8)),
        "labels have another size",
    ),
    "classes that are not there": (
        coco,
        lambda r: change_coco(r, lambda c: c["annotations"][0].update(category_id=77)),
        "a category that the file does not list",
    ),
    "boxes outside": (
        coco,
        lambda r: change_coco(r, lambda c: c["annotations"][0].update(bbox=[200, 5, 9, 9])),
        "boxes lie outside",
    ),
    "numbers that do not fit the video": (
        cvat,
        lambda r: write_clip(r / "clip.mp4", count=4),
        "annotated that the video does not have",
    ),
    "duplicates": (
        coco,
        lambda r: change_coco(r, lambda c: c["images"].append({**c["images"][0], "id": 99})),
        "listed more than once",
    ),
    "unreadable images": (
        coco,
        lambda r: (r / "train" / "2.png").write_bytes(b"not an image"),
        "cannot be read",
    ),
    "empty splits": (
        coco,
        lambda r: change_coco(r, lambda c: c.update(images=[], annotations=[]), "val.json"),
        "a split has no labelled frame",
    ),
    "one class only": (
        masks,
        lambda r: [overwrite(f, np.zeros(SIZE, np.uint8)) for f in r.glob("*/masks/a/*.png")],
        "masks hold one class alone",
    ),
    "values of no class": (
        masks,
        lambda r: overwrite(r / "train/masks/a/1.png", np.full(SIZE, 7, np.uint8)),
        "masks hold values of no class",
    ),
    "mixed sizes": (
        masks,
        lambda r: [
            overwrite(r / "train/frames/a/1.png", picture(1)[:, :80]),
            overwrite(r / "train/masks/a/1.png", np.eye(72, 80, dtype=np.uint8)),
        ],
        "frames of one video differ in size",
    ),
    "frames in both splits": (
        coco,
        lambda r: shutil.copy(r / "train.json", r / "val.json"),
        "frames are in both splits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", [coco, masks, cvat])
def test_nothing_is_wrong_with_good_data(make, tmp_path):
    assert not list(inspect(read(make(tmp_path))).findings)


@pytest.mark.parametrize("name", BROKEN)
def test_each_kind_of_broken_data_is_named_and_nothing_else(name, tmp_path):
    make, spoil, wanted = BROKEN[name]
    make(tmp_path)
    spoil(tmp_path)
    problems = list(inspect(read(tmp_path)).findings)
    names = {what for what in wanted.split("|") if any(what in p.what for p in problems)}
    assert names
    assert len(problems) == len(names), [str(p) for p in problems]
    assert all(1 <= len(p.examples) <= 3 and p.cure for p in problems)


def test_the_report_is_printed_and_written_as_a_page(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    main([str(coco(tmp_path / "data")), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text()
    for words in ("8 boxes: car 4, dog 4", "nothing is wrong with it", "72x96 (4)"):
        assert words in said
    assert f"dff fit --data Auto --data.root {tmp_path / 'data'}" in said
    assert page.count("<figure>") == 8 and "Nothing is wrong" in page
    assert "anchors have sides of" in said


def test_broken_data_end_with_code_1_and_a_page(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (coco(tmp_path / "data") / "train" / "2.png").unlink()
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "data"), "--output", str(tmp_path / "out")])
    assert ended.value.code == 1
    assert "mend this first" in capsys.readouterr().out
    assert "class='stops'" in (tmp_path / "out" / "index.html").read_text()


def test_the_command_knows_the_formats_that_there_are():
    assert FORMATS == Format.__args__ and KINDS == MaskKind.__args__
