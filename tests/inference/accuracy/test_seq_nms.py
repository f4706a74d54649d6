"""Seq-NMS against its plain definition, and what it is for."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dff.inference.accuracy.seq_nms import LINK, SUPPRESS, seq_nms
from dff.inference.results.detection_files import DetectionFiles


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    common = max(width, 0) * max(height, 0)
    areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (one, other)]
    return common / (sum(areas) - common)


def plain(rows, rescore):
    """The definition: all chains are tried, the best is taken, until none has two boxes."""
    left, done = [list(row) for row in rows], []
    while True:
        chains = [[row] for row in left]
        for chain in chains:  # grows while it is walked
            for row in left:
                last = chain[-1]
                follows = row[0] == last[0] + 1 and row[1] == last[1]
                if follows and iou(row[3:], last[3:]) >= LINK:
                    chains.append([*chain, row])
        chains = [chain for chain in chains if len(chain) > 1]
        if not chains:
            return sorted(done + left, key=lambda row: (row[0], -row[2]))
        best = max(chains, key=lambda chain: sum(row[2] for row in chain))
        scores = [row[2] for row in best]
        score = sum(scores) / len(scores) if rescore == "mean" else max(scores)
        for row in best:
            left = [
                other
                for other in left
                if other is not row
                and (other[:2] != row[:2] or iou(other[3:], row[3:]) <= SUPPRESS)
            ]
            done.append([*row[:2], score, *row[3:]])


def drawn(seed):
    rng = np.random.default_rng(seed)
    frames, rows = [0, 1, 2, 4, 5], []
    for frame, label in itertools.product(frames, (1, 2)):
        for place in rng.integers(0, 3, 4):
            corner = 12 * place + rng.integers(0, 9, 2)
            rows.append([frame, label, rng.random(), *corner, *(corner + 20)])
    return np.array(rows, float)


@pytest.mark.parametrize("rescore", ["mean", "max"])
@pytest.mark.parametrize("seed", range(8))
def test_it_is_its_definition_in_any_order_of_rows(seed, rescore):
    rows = drawn(seed)
    expected = np.array(plain(rows, rescore))
    for order in (slice(None), np.random.default_rng(1).permutation(len(rows))):
        found = seq_nms(rows[order], rescore)
        np.testing.assert_allclose(
            found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], rtol=1e-12
        )
    assert (np.diff(found[:, 0]) >= 0).all()


def test_a_weak_box_between_sure_ones_becomes_sure_and_a_gap_in_time_links_nothing():
    box = [10, 10, 40, 40]
    rows = np.array([[0, 1, 0.9, *box], [1, 1, 0.1, *box], [2, 1, 0.8, *box], [4, 1, 0.3, *box]])
    np.testing.assert_allclose(seq_nms(rows)[:, 2], [0.6, 0.6, 0.6, 0.3])
    np.testing.assert_allclose(seq_nms(rows, "max")[:, 2], [0.9, 0.9, 0.9, 0.3])


def test_a_video_without_detections():
    assert seq_nms(np.zeros((0, 7))).shape == (0, 7)


def test_files_hold_what_it_makes_of_the_whole_video(tmp_path):
    found = torch.tensor([[[10, 10, 40, 40, s, 0], [0, 0, 0, 0, 0, -1]] for s in (0.9, 0.1, 0.8)])
    files = DetectionFiles(tmp_path, "a", linked=True)
    for start in (0, 2):  # in two clips
        some = found[start : start + 2]
        files.write(SimpleNamespace(start=start, times=[0.0, 0.1][: len(some)]), some)
    files.close()
    rows = np.loadtxt(tmp_path / "a.boxes.txt")
    np.testing.assert_allclose(rows[:, :3], [[f, 1, 0.6] for f in range(3)])
    assert [e["score"] for e in json.loads((tmp_path / "a.boxes.json").read_text())] == [0.6] * 3
