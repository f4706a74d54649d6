import numpy as np
import pytest
import torch
from small import SHARED

from dff.inference.accuracy import average_precision as ap_module
from dff.inference.accuracy.average_precision import (
    GROUPS,
    Detections,
    Truth,
    average_precision,
    class_mean,
    lenient_thresholds,
    paired_iou,
)
from dff.inference.accuracy.detections import DetectionAccuracy
from dff.lit.metrics.accuracy import Gathered

REFERENCE = SHARED / "reference" / "vid_eval.npz"
MOTION = {"slow": 0.95, "medium": 0.8, "fast": 0.3}


def truth(rows, motion=None):
    """Rows of frame, label, x1, y1, x2, y2."""
    rows = np.array(rows, np.float64).reshape(-1, 6)
    motion = None if motion is None else np.array(motion, np.float64)
    return Truth(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:], motion)


def found(rows):
    """Rows of frame, label, score, x1, y1, x2, y2."""
    rows = np.array(rows, np.float64).reshape(-1, 7)
    return Detections(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2], rows[:, 3:])


def random_boxes(rng, count):
    corner, size = rng.integers(0, 40, (count, 2)), rng.integers(3, 40, (count, 2))
    return np.concatenate([corner, corner + size], 1).astype(np.float64)


def random_case(seed, frames=12, classes=3):
    """Crowded frames, many equal scores, some frames without boxes or detections."""
    rng = np.random.default_rng(seed)
    boxes, count = rng.integers(20, 60), rng.integers(100, 250)
    box = random_boxes(rng, boxes)
    motion = rng.choice([*MOTION.values(), 0.7, 0.9, np.nan], boxes)
    there = Truth(rng.integers(0, frames, boxes), rng.integers(0, classes, boxes), box, motion)
    near = box[rng.integers(0, boxes, count)] + rng.integers(-4, 5, (count, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    which = rng.integers(0, boxes, count)
    near[::2] = box[which[::2]] + rng.integers(-3, 4, (len(near[::2]), 4))
    frame = rng.integers(0, frames + 2, count)
    frame[::2] = there.frame[which[::2]]
    label = rng.integers(0, classes, count)
    label[::2] = there.label[which[::2]]
    return there, Detections(frame, label, rng.integers(1, 30, count) / 30, near)


def one_by_one(there, seen, classes, protocol, least, group):
    """AP as the protocols are told: one detection after the other. group: name or None."""
    plus = 0 if protocol == "coco" else 1
    inside = np.ones(len(there.frame), bool)
    if group:
        low, high = {"slow": (0.9, 1), "medium": (0.7, 0.9), "fast": (0, 0.7)}[group]
        inside = (there.motion >= low) & (there.motion <= high)
        inside &= ~((group == "slow") & (there.motion == 0.9))  # FGFA has them in both groups
        inside &= ~((group == "fast") & (there.motion == 0.7))
    events = []
    for frame in sorted(set(seen.frame)):
        mine = np.flatnonzero(there.frame == frame)
        free = set(mine)
        rows = [i for i in range(len(seen.frame)) if seen.frame[i] == frame]
        counts = {}
        for i in sorted(rows, key=lambda i: -seen.score[i]):
            label = seen.label[i]
            counts[label] = counts.get(label, 0) + 1
            if protocol == "coco" and counts[label] > 100:
                continue
            overlap = {
                j: float(paired_iou(seen.box[i][None], there.box[j][None], plus)[0]) for j in mine
            }
            mates = [j for j in mine if there.label[j] == label]
            if protocol == "voc":
                best = max(mates, key=lambda j: overlap[j], default=None)
                choice = best if best in free and overlap[best] >= 0.5 else None
            else:
                ok = [j for j in mates if j in free and overlap[j] >= least[j]]
                choice = max(ok, key=lambda j: overlap[j], default=None)
            hit, miss = 0.0, 1.0
            if choice is not None:
                free.discard(choice)
                hit, miss = float(inside[choice]), 0.0
            elif group and len(mine) == 0:
                miss = inside.mean()
            elif group:
                best_in = max([overlap[j] for j in mine if inside[j]], default=-1)
                best_out = max([overlap[j] for j in mine if not inside[j]], default=-1)
                if best_in <= best_out:
                    miss = 0.0 if best_in < best_out else np.mean(~inside[mine])
            events.append((-seen.score[i], frame, label, hit, miss))
    events.sort(key=lambda event: event[0])  # stable: by frame, as they were gone through
    result = np.full(classes, np.nan)
    for label in range(classes):
        positives = ((there.label == label) & inside).sum()
        if positives == 0:
            continue
        curve, hits, misses = [(0.0, 0.0)], 0.0, 0.0
        for *_, hit, miss in (event for event in events if event[2] == label):
            hits, misses = hits + hit, misses + miss
            curve.append((hits / positives, hits / max(hits + misses, 1e-15)))
        recall, precision = np.array(curve).T
        if protocol == "coco":
            points = np.linspace(0, 1, 101)
            result[label] = np.mean([max([*precision[recall >= p], 0.0]) for p in points])
        else:
            ends = np.unique(recall)
            heights = [precision[recall >= end].max() for end in ends[1:]]
            result[label] = (np.diff(ends) * heights).sum()
    return result


@pytest.mark.parametrize("protocol", ["vid", "voc", "coco"])
@pytest.mark.parametrize("seed", range(6))
def test_all_at_once_is_one_after_the_other(protocol, seed, monkeypatch):
    monkeypatch.setattr(ap_module, "PAIRS_AT_ONCE", 100)  # several blocks
    there, seen = random_case(seed)
    scores = average_precision(there, seen, 3, protocol)
    boxes = len(there.box)
    levels = {
        "vid": [lenient_thresholds(there.box)],
        "voc": [np.full(boxes, 0.5)],
        "coco": [np.full(boxes, level) for level in np.linspace(0.5, 0.95, 10)],
    }[protocol]
    for name in (None, *GROUPS):
        expected = np.mean([one_by_one(there, seen, 3, protocol, lv, name) for lv in levels], 0)
        got = scores.ap if name is None else scores.by_motion[name]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12, err_msg=str(name))


@pytest.mark.skipif(not REFERENCE.is_file(), reason=f"no vector at {REFERENCE}: set DFF_SHARED")
def test_the_authors_code_gives_the_same():
    stored = np.load(REFERENCE)
    there = truth(stored["gt_imgid_cls_x1y1x2y2"] - [0, 1, 0, 0, 0, 0])
    seen = found(stored["det_imgid_cls_conf_x1y1x2y2"] - [0, 1, 0, 0, 0, 0, 0])
    ap = average_precision(there, seen, 30).ap
    labelled = np.unique(there.label)
    error = np.abs(ap - stored["ap"])[labelled].max()
    print(f"{len(labelled)} classes with boxes, max abs error {error:.1e}")
    assert error <= 1e-15
    assert np.isnan(np.delete(ap, labelled)).all()


def test_the_scores_of_coco_are_those_of_pycocotools():
    coco_module = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    there, seen = random_case(3, frames=5)

    def row(i, frame, label, box):
        x1, y1, x2, y2 = box.tolist()
        sides = [x2 - x1, y2 - y1]
        ids = {"id": i + 1, "image_id": int(frame), "category_id": int(label)}
        return {**ids, "bbox": [x1, y1, *sides], "area": sides[0] * sides[1], "iscrowd": 0}

    def coco_of(rows):
        coco = coco_module.COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(7)],
            "categories": [{"id": i} for i in range(3)],
            "annotations": rows,
        }
        coco.createIndex()
        return coco

    # pycocotools goes through images and detections in the order of their numbers.
    order = np.lexsort((-seen.score, seen.frame))
    seen = Detections(*(column[order] for column in seen))
    boxes = [row(i, *r) for i, r in enumerate(zip(*there[:3], strict=True))]
    hits = zip(seen.frame, seen.label, seen.box, strict=True)
    dets = [row(i, *r) | {"score": float(seen.score[i])} for i, r in enumerate(hits)]
    run = evaluation.COCOeval(coco_of(boxes), coco_of(dets), "bbox")
    run.evaluate()
    run.accumulate()
    expected = run.eval["precision"][:, :, :, 0, 2].mean((0, 1))
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_allclose(average_precision(there, seen, 3, "coco").ap, expected, atol=1e-12)


@pytest.mark.parametrize("protocol", ["vid", "voc", "coco"])
def test_perfect_detections_score_1_in_every_group(protocol):
    rng = np.random.default_rng(0)
    box = random_boxes(rng, 60)
    motion = np.resize(list(MOTION.values()), 60)
    there = Truth(np.arange(60) // 6, np.arange(60) % 2, box, motion)
    seen = Detections(there.frame, there.label, rng.random(60), box)
    scores = average_precision(there, seen, 3, protocol)
    for ap in (scores.ap, *scores.by_motion.values()):
        assert ap[:2].tolist() == pytest.approx([1, 1], abs=1e-12) and np.isnan(ap[2])
    assert list(scores.by_motion) == ["slow", "medium", "fast"]


def test_a_second_detection_of_a_box_is_wrong():
    there = truth([[0, 0, 0, 0, 99, 99], [1, 0, 0, 0, 99, 99]])
    box = [0, 0, 99, 99]
    once = found([[0, 0, 0.9, *box], [1, 0, 0.7, *box]])
    twice = found([[0, 0, 0.9, *box], [0, 0, 0.8, *box], [1, 0, 0.7, *box]])
    assert average_precision(there, once, 1).ap[0] == 1
    assert average_precision(there, twice, 1).ap[0] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_a_detection_takes_the_best_box_still_free_but_for_voc():
    there = truth([[0, 0, 0, 0, 99, 99], [0, 0, 0, 20, 99, 119]])
    seen = found([[0, 0, 0.9, 0, 0, 99, 99], [0, 0, 0.8, 0, 8, 99, 107]])  # both nearer the first
    assert average_precision(there, seen, 1, "vid").ap[0] == 1
    assert average_precision(there, seen, 1, "voc").ap[0] == 0.5


def test_coco_counts_100_detections_of_a_frame_and_class():
    there = truth([[0, 0, 0, 0, 99, 99], [0, 1, 0, 0, 99, 99]])
    wrong = [[0, 0, 0.9, 200, 200, 299, 299]] * 99
    ninety_nine = found([*wrong, [0, 0, 0.5, 0, 0, 99, 99], [0, 1, 0.4, 0, 0, 99, 99]])
    assert average_precision(there, ninety_nine, 2, "coco").ap.tolist() == pytest.approx([0.01, 1])
    hundred = found([wrong[0], *zip(*ninety_nine[:3], *ninety_nine.box.T, strict=True)])
    assert average_precision(there, hundred, 2, "coco").ap.tolist() == pytest.approx([0, 1])
    assert average_precision(there, hundred, 2, "vid").ap.tolist() == pytest.approx([1 / 101, 1])


def test_small_boxes_get_a_lenient_threshold():
    assert lenient_thresholds(np.array([[0.0, 0, 9, 9], [0, 0, 99, 99]])).tolist() == [0.25, 0.5]
    small = truth([[0, 0, 0, 0, 9, 9]])
    shifted = found([[0, 0, 1, 5, 0, 14, 9]])  # IoU 50 / 150
    assert average_precision(small, shifted, 1, "vid").ap[0] == 1
    assert average_precision(small, shifted, 1, "voc").ap[0] == 0


def test_the_last_pixel_counts():
    a, b = np.array([[0.0, 0, 9, 9]]), np.array([[5.0, 0, 14, 9]])
    assert paired_iou(a, b)[0] == pytest.approx(50 / 150)
    assert paired_iou(a, b, extra=0)[0] == pytest.approx(36 / 126)
    assert paired_iou(a, np.array([[30.0, 30, 40, 40]]))[0] == 0


def test_a_class_without_a_box_is_no_class_of_the_mean():
    there = truth([[0, 1, 0, 0, 9, 9]])
    seen = found([[0, 1, 0.5, 0, 0, 9, 9], [0, 0, 0.9, 0, 0, 9, 9]])
    ap = average_precision(there, seen, 4).ap
    assert np.isnan(ap[[0, 2, 3]]).all() and ap[1] == 1 and class_mean(ap) == 1
    assert np.isnan(class_mean(average_precision(truth([]), seen, 4).ap))
    assert average_precision(there, found([]), 4).ap[1] == 0


def test_what_takes_a_box_of_another_group_is_neither_right_nor_wrong():
    there = truth([[0, 0, 0, 0, 9, 9], [0, 0, 50, 50, 59, 59]], [MOTION["slow"], MOTION["fast"]])
    seen = found([[0, 0, 0.9, 50, 50, 59, 59], [0, 0, 0.8, 0, 0, 9, 9]])
    scores = average_precision(there, seen, 1)
    assert scores.by_motion["slow"][0] == scores.by_motion["fast"][0] == 1
    assert np.isnan(scores.by_motion["medium"][0])


def test_what_takes_no_box_is_wrong_in_the_group_that_it_is_nearest_to():
    there = truth([[0, 0, 0, 0, 9, 9], [0, 0, 50, 50, 59, 59]], [MOTION["slow"], MOTION["fast"]])
    near_slow = [0, 0, 0.95, 8, 8, 17, 17]
    seen = found([near_slow, [0, 0, 0.9, 50, 50, 59, 59], [0, 0, 0.8, 0, 0, 9, 9]])
    scores = average_precision(there, seen, 1)
    assert scores.by_motion["slow"][0] == 0.5 and scores.by_motion["fast"][0] == 1
    assert scores.ap[0] == pytest.approx(2 / 3)


def batch(indices, dets=8, boxes=4, classes=3):
    """One row for each index; the row depends on the index alone."""
    rows = []
    for index in indices:
        rng = np.random.default_rng(index)
        label = rng.integers(-1, classes, boxes)
        box = random_boxes(rng, boxes).astype(np.float32)
        near = box[rng.integers(0, boxes, dets)] + rng.integers(-3, 4, (dets, 4))
        score = rng.integers(1, 9, (dets, 1)) / 8
        seen = np.concatenate([near, score, rng.integers(-1, classes, (dets, 1))], 1)
        rows.append((seen, box, label, rng.choice(list(MOTION.values()), boxes)))
    seen, box, label, motion = (torch.from_numpy(np.stack(x)) for x in zip(*rows, strict=True))
    return {
        "detections": seen.float(),
        "frame_boxes": box,
        "box_labels": label,
        "index": torch.tensor(indices),
        "motion": motion,
    }


def same(a, b):
    assert a.keys() == b.keys()
    for gap in a:
        assert a[gap].keys() == b[gap].keys()
        for name in a[gap]:
            np.testing.assert_array_equal(a[gap][name], b[gap][name], err_msg=f"{gap} {name}")


class Scored(DetectionAccuracy):
    """Whose result is the scores of each gap."""

    def result(self, counted):
        return self.scores(counted)


def counter(gaps, num_classes, **kwargs):
    return Gathered(Scored(gaps, num_classes, **kwargs))


def counted(rows, gap):
    """What `update` takes: detections, and the batch that they belong to."""
    return rows["detections"], rows | {"gap": gap}


def scored(*index_lists, gaps=(0, 4), **kwargs):
    metric = counter(list(gaps), 3, **kwargs)
    for indices in index_lists:
        rows = batch(indices)
        for gap in gaps:
            metric.update(*counted(rows, torch.full((len(indices),), gap)))
    return metric.compute()


def test_neither_order_nor_batches_nor_repetition_change_anything():
    rng = np.random.default_rng(0)
    whole = scored(list(range(40)))
    assert 0 < whole[0]["mAP"] < 1 and whole[0]["frames"] == 40
    same(whole, scored(*(part.tolist() for part in np.split(rng.permutation(40), 8))))
    same(whole, scored([3, 3, 7], list(range(40)), [39, 0, 12]))
    assert whole[0]["mAP"] != scored(list(range(39)))[0]["mAP"]


def test_gaps_are_kept_apart():
    metric = counter([0, 4, 9], 3)
    metric.update(*counted(batch([1, 2, 3]), torch.tensor([4, 0, 4])))
    result = metric.compute()
    same({4: result[4]}, scored([3, 1], gaps=(4,)))
    assert [result[gap]["frames"] for gap in (0, 4, 9)] == [1, 2, 0]
    assert np.isnan(result[9]["mAP"]) and np.isnan(result[9]["AP"]).all()


def test_groups_are_there_only_where_motion_is_known():
    rows = batch([1, 2])
    del rows["motion"]
    metric = counter([0], 3)
    metric.update(*counted(rows, torch.zeros(2, dtype=torch.int64)))
    assert set(metric.compute()[0]) == {"mAP", "AP", "frames"}
    assert {"slow", "medium", "fast"} < set(scored([1, 2])[0])


def test_the_motion_handed_over_is_the_motion_scored():
    rows = batch([1, 2, 3, 4])
    result = scored([1, 2, 3, 4], gaps=(0,))[0]
    real, used = rows["box_labels"] >= 0, rows["detections"][..., 5] >= 0
    frame, seen = rows["index"][:, None], rows["detections"].double()[used]
    truth_frame, found_frame = frame.expand_as(real)[real], frame.expand_as(used)[used]
    there = Truth(
        truth_frame, rows["box_labels"][real], rows["frame_boxes"][real], rows["motion"][real]
    )
    there = Truth(*(column.numpy() for column in there))
    columns = (found_frame, seen[:, 5].long(), seen[:, 4], seen[:, :4])
    scores = average_precision(there, Detections(*(c.numpy() for c in columns)), 3)
    assert [result[name] for name in GROUPS] == pytest.approx(
        [class_mean(scores.by_motion[name]) for name in GROUPS], abs=0
    )
    assert len({result[name] for name in GROUPS}) == 3


def test_one_class_is_still_a_row():
    metric = counter([0], 1)
    box = torch.tensor([[[0.0, 0, 9, 9]]])
    seen = torch.cat([box, torch.tensor([[[0.5, 0.0]]])], 2)
    zero = torch.zeros(1, dtype=torch.int64)
    metric.update(seen, {"frame_boxes": box, "box_labels": zero[None], "gap": zero, "index": zero})
    assert metric.compute()[0]["AP"].tolist() == [1]


def test_unused_rows_and_padding_leave_no_trace():
    rows = batch([1, 2, 3])
    metric = counter([0], 3)
    wide = {
        "detections": torch.cat([torch.full((3, 5, 6), -1.0), rows["detections"]], 1),
        "frame_boxes": torch.cat([rows["frame_boxes"], torch.zeros(3, 2, 4)], 1),
        "box_labels": torch.cat([rows["box_labels"], torch.full((3, 2), -1)], 1),
        "motion": torch.cat([rows["motion"], torch.full((3, 2), torch.nan)], 1),
    }
    metric.update(*counted(rows | wide, torch.zeros(3, dtype=torch.int64)))
    same(metric.compute(), scored([1, 2, 3], gaps=(0,)))


def test_scores_and_boxes_are_rounded_as_the_authors_write_them():
    metrics = [counter([0], 1, official_rounding=on) for on in (True, False)]
    box = torch.tensor([[[0.0, 0, 99, 49]]])
    # IoU 0.49996 as it is, 0.5 as it is written
    seen = torch.tensor([[[0.0, 0, 99, 23.998, 0.5, 0]]])
    zero = torch.zeros(1, dtype=torch.int64)
    for metric in metrics:
        metric.update(
            seen, {"frame_boxes": box, "box_labels": zero[None], "gap": zero, "index": zero}
        )
    assert [metric.compute()[0]["mAP"] for metric in metrics] == [1, 0]


def test_rounding_is_that_of_writing_and_reading():
    x = torch.rand(5000, generator=torch.Generator().manual_seed(0)).numpy()
    ties = np.float32([0.00005, 0.125, 0.375, 1280.125, 0.28125])
    for values, digits in ((np.append(x, ties), 4), (np.append(x * 1280, ties), 2)):
        written = [float(f"{value:.{digits}f}") for value in values]
        assert values.astype(np.float64).round(digits).tolist() == written


def test_what_is_out_of_range_is_refused():
    rows, gap = batch([1]), torch.tensor([0])
    metric = counter([0], 3)
    with pytest.raises(ValueError, match=r"label 5: wanted 0\.\.2, or -1 for none"):
        metric.update(*counted(rows | {"box_labels": torch.full((1, 4), 5)}, gap))
    high = rows["detections"].clone()
    high[0, 0, 5] = 3
    with pytest.raises(ValueError, match=r"class 3: wanted 0\.\.2"):
        metric.update(*counted(rows | {"detections": high}, gap))
    with pytest.raises(ValueError, match=r"gap 7: wanted one of \[0\]"):
        metric.update(*counted(rows, torch.tensor([7])))


def test_two_metrics_joined_are_one():
    parts = [counter([0, 4], 3) for _ in range(2)]
    for part, indices in zip(parts, ([5, 0, 3], [1, 3, 2]), strict=True):  # 3 is in both
        for gap in (0, 4):
            part.update(*counted(batch(indices), torch.full((3,), gap)))
    parts[0].merge_state(parts[1])
    same(parts[0].compute(), scored([0, 1, 2, 3, 5]))


def count_in_process(rank, world_size, shares, file, out):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=world_size
    )
    metric = counter([0, 4], 3)
    for indices in shares[rank]:
        for gap in (0, 4):
            metric.update(*counted(batch(indices), torch.full((len(indices),), gap)))
    torch.save((metric.compute(), [len(rows) for rows in metric.frames]), f"{out}_{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_give_what_one_gives_even_if_one_has_nothing(tmp_path):
    shares = [[[4, 1], [7, 2, 4]], []]
    torch.multiprocessing.spawn(
        count_in_process, (2, shares, tmp_path / "init", tmp_path / "out"), nprocs=2
    )
    expected = scored([1, 2, 4, 7])
    for rank in range(2):
        result, kept = torch.load(tmp_path / f"out_{rank}.pt", weights_only=False)
        same(result, expected)
        assert sum(kept) == 2 * sum(map(len, shares[rank])), "a process kept the others' rows"
