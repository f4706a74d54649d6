"""Scoring detections of the whole VID validation set, from files."""

import re

import numpy as np
import pytest
from small import DATA
from vid_layout import write_boxes, write_motion

from dff.commands import score_detections as script
from dff.data.datasets.imagenet_vid.ground_truth import read_vid_ground_truth
from dff.data.samples import SampleError

VID = DATA / "vid_mini"

# two videos, of 2 and 3 frames; one car at rest, one bird that is fast, one bird of medium speed
LABELS = [[7], [], [5], [], [5]]
BOXES = [[[0, 0, 99, 99]], [], [[0, 0, 99, 99]], [], [[50, 50, 149, 149]]]
MOTION = [[0.95], [], [0.5], [], [0.8]]
FOUND = {
    "one": "0 7 0.9 0 0 99 99\n",
    "two": "0 5 0.9 0 0 99 99\n2 5 0.95 300 300 399 399\n2 5 0.6 50 50 149 149\n",
}


@pytest.fixture
def files(tmp_path):
    boxes = write_boxes(tmp_path / "boxes.mat", LABELS, BOXES)
    motion = write_motion(tmp_path / "motion.mat", MOTION)
    (tmp_path / "list.txt").write_text("val/one 1 0 2\nval/two 3 0 3\n")
    found = tmp_path / "found"
    found.mkdir()
    for name, text in FOUND.items():
        (found / f"{name}.boxes.txt").write_text(text)
    return {"found": found, "boxes": boxes, "motion": motion, "list": tmp_path / "list.txt"}


def score(monkeypatch, capsys, files, *more):
    arguments = [files["found"], "--boxes", files["boxes"], *more]
    monkeypatch.setattr("sys.argv", ["score_detections.py", *map(str, arguments)])
    script.main()
    said = capsys.readouterr().out
    return {
        name: float(v) for name, v in re.findall(r"^([a-zA-Z_ ]+?) +([\d.]+|nan)\b", said, re.M)
    }


def test_a_folder_of_predict_is_scored_as_one_run(files, monkeypatch, capsys):
    more = "--list", files["list"], "--motion", files["motion"]
    scores = score(monkeypatch, capsys, files, *more)
    # bird: 0.95 wrong, 0.9 right, 0.6 right: precision 0, 1/2, 2/3 at recall 0, 1/2, 1
    assert scores["bird"] == pytest.approx(2 / 3, abs=1e-4) and scores["car"] == 1
    assert scores["mAP"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    # the wrong one lies beside the bird of medium speed, in whose group alone it counts
    assert scores["mAP slow"] == 1 and scores["mAP fast"] == 1
    assert scores["mAP medium"] == pytest.approx(1 / 2, abs=1e-4)


def test_a_text_file_with_official_numbers_scores_the_same(files, tmp_path, monkeypatch, capsys):
    from_folder = score(monkeypatch, capsys, files, "--list", files["list"])
    lines = [
        f"{int(line.split()[0]) + first} {line.split(maxsplit=1)[1]}"
        for first, text in zip((1, 3), FOUND.values(), strict=True)
        for line in text.splitlines()
    ]
    (tmp_path / "all.txt").write_text("\n".join(lines))
    from_file = score(monkeypatch, capsys, files | {"found": tmp_path / "all.txt"})
    assert from_file == pytest.approx(from_folder, nan_ok=True)


def test_a_video_without_detections_counts(files, monkeypatch, capsys):
    (files["found"] / "two.boxes.txt").write_text("")
    scores = score(monkeypatch, capsys, files, "--list", files["list"])
    assert scores["car"] == 1 and scores["bird"] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 5 0.9 1 2 3\n", "two.boxes.txt has 6 columns: want frame, class, score"),
        ("0 5 0.9 1 2 3 x\n", r"two.boxes.txt is no list of detections \(.*'x'"),
        ("0 5 nan 1 2 3 4\n", "two.boxes.txt has numbers that are not finite"),
        ("3 5 0.9 1 2 3 4\n", "has frames 3 to 3, and .*list.txt gives val/two 3 frames"),
        ("0 31 0.9 1 2 3 4\n", "has class 31 in 1 rows: want 1 to 30"),
        (None, "no .*two.boxes.txt, though .*list.txt lists val/two: predict it first"),
    ],
)
def test_what_is_no_detection_is_told(files, monkeypatch, capsys, text, said):
    path = files["found"] / "two.boxes.txt"
    path.write_text(text) if text else path.unlink()
    with pytest.raises((SampleError, FileNotFoundError), match=said):
        score(monkeypatch, capsys, files, "--list", files["list"])


def test_a_folder_wants_a_list_with_lines_of_videos(files, monkeypatch, capsys):
    with pytest.raises(ValueError, match=r"is a folder: name VID_val_videos.txt with --list"):
        score(monkeypatch, capsys, files)
    files["list"].write_text("val/one 1\n")
    with pytest.raises(SampleError, match=r"has the line 'val/one 1': want 'val/NAME first"):
        score(monkeypatch, capsys, files, "--list", files["list"])
    with pytest.raises(FileNotFoundError, match="no list nowhere"):
        score(monkeypatch, capsys, files, "--list", "nowhere")


@pytest.mark.skipif(not VID.is_dir(), reason=f"no {VID}: set DFF_SHARED")
def test_perfect_detections_of_the_whole_set_score_1_in_each_group(tmp_path, monkeypatch, capsys):
    boxes, motion = (
        VID / f"{name}.mat"
        for name in ("ILSVRC2015_vid_validation_ground_truth_whole", "vid_groundtruth_motion_iou")
    )
    truth = read_vid_ground_truth(boxes)
    ones = np.ones(len(truth.frame))
    rows = np.column_stack([truth.frame, truth.label + 1, ones, truth.box])
    np.savetxt(tmp_path / "perfect.txt", rows, "%d %d %.4f %.2f %.2f %.2f %.2f")
    files = {"found": tmp_path / "perfect.txt", "boxes": boxes}
    scores = score(monkeypatch, capsys, files, "--motion", motion)
    assert [scores[f"mAP{group}"] for group in ("", " slow", " medium", " fast")] == [1.0] * 4
