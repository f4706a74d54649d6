"""What is read and counted as COCO has it, against pycocotools."""

import json

import cv2
import numpy as np
import pytest
import torch

from dff.data.annotations.drawn_masks import Polygons, checked_polygon, runs_of_text
from dff.data.annotations.formats.coco import read_coco
from dff.data.pair_files import read_pair
from dff.inference.accuracy.detections import DetectionAccuracy

pytest.importorskip("pycocotools", reason="compares with pycocotools")
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIZE = (60, 90)


def test_run_lengths_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = rng.random((37, 53)) < share
        text = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        for given in (text, text.decode()):
            np.testing.assert_array_equal(runs_of_text(given, (37, 53)).pixels(), mask)
    for wrong, said in (("~", "none of compressed"), ("P", "end within"), ("3", "add up to 3")):
        with pytest.raises(ValueError, match=said):
            runs_of_text(wrong, (37, 53))


def test_polygons_cover_what_those_of_pycocotools_cover():
    rng = np.random.default_rng(1)
    common = union = 0
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        points = 40 + np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(15, 38, (9, 1))
        wanted = coco_mask.decode(coco_mask.frPyObjects([points.ravel().tolist()], 80, 80))[..., 0]
        mine = np.zeros((80, 80), np.uint8)
        Polygons((checked_polygon(points.ravel().tolist()),)).fill(mine, 1)
        common += int((mine & wanted).sum())
        union += int((mine | wanted).sum())
    assert common / union > 0.98  # theirs takes pixels that the outline only touches


@pytest.fixture
def labelled(tmp_path):
    """Images of boxes of three classes and some crowds, and detections near them."""
    rng = np.random.default_rng(2)
    images, annotations, found = [], [], []
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((*SIZE, 3), np.uint8))
        images.append({"id": i + 1, "file_name": f"{i}.png", "height": 60, "width": 90})
        for _ in range(rng.integers(0, 6)):
            x, y = rng.integers(0, 60), rng.integers(0, 30)
            box = [int(x), int(y), int(rng.integers(5, 90 - x)), int(rng.integers(5, 60 - y))]
            entry = {"image_id": i + 1, "category_id": int(rng.choice([1, 4, 9])), "bbox": box}
            crowd = int(rng.random() < 0.25)
            area = {"id": len(annotations) + 1, "area": box[2] * box[3], "iscrowd": crowd}
            annotations.append(entry | area)
            for _ in range(rng.integers(0, 4)):
                near = np.array(box) + rng.normal(0, 1.5, 4)
                near[2:] = np.maximum(near[2:], 2)
                found.append((i, *near.round(2).tolist(), entry["category_id"]))
        for _ in range(3):
            box = [*rng.uniform(0, 40, 2), *rng.uniform(3, 20, 2)]
            found.append((i, *np.round(box, 2).tolist(), int(rng.choice([1, 4, 9]))))
    categories = [{"id": n, "name": f"c{n}"} for n in (1, 4, 9)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "train.json").write_text(json.dumps(content))
    scores = rng.permutation(len(found)) / len(found)
    return tmp_path, [(*row, round(float(s), 4)) for row, s in zip(found, scores, strict=True)]


def test_the_coco_metric_on_a_coco_file_is_that_of_pycocotools(labelled):
    root, found = labelled
    (video,) = read_coco(root / "train.json", root).snippets
    accuracy = DetectionAccuracy([0], 3, "coco")
    rows = {name: [] for name in accuracy.rows}
    for index in video.labelled:
        pair = read_pair(video, index, 0, None, False, True)
        own = [row for row in found if row[0] == index]
        detections = torch.zeros(1, len(own), 6, dtype=torch.float64)
        for i, (_, x, y, w, h, category, score) in enumerate(own):
            label = [1, 4, 9].index(category)
            detections[0, i] = torch.tensor([x, y, x + w - 1, y + h - 1, score, label])
        batch = {
            "frame_boxes": torch.from_numpy(pair["boxes"])[None],
            "box_labels": torch.from_numpy(pair["box_labels"])[None],
            "gap": torch.tensor([0]),
            "index": torch.tensor([index]),
        }
        for name, counted in accuracy.count(detections, batch).items():
            rows[name].append(counted)
    scores = accuracy.scores({name: torch.cat(parts) for name, parts in rows.items()})[0]

    truth = COCO(str(root / "train.json"))
    results = truth.loadRes(
        [
            {"image_id": i + 1, "bbox": [x, y, w, h], "category_id": category, "score": score}
            for i, x, y, w, h, category, score in found
        ]
    )
    evaluation = COCOeval(truth, results, "bbox")
    evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    assert any(a.get("iscrowd") for a in truth.dataset["annotations"])
    assert scores["mAP"] == pytest.approx(evaluation.stats[0], abs=1e-6)
    assert 0.1 < scores["mAP"] < 0.9
