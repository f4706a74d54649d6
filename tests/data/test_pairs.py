import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from small import DATA
from torch.utils.data import DataLoader, DistributedSampler

from dff.data.datasets import cityscapes
from dff.data.datasets.folder import MaskReader
from dff.data.files.images import write_png
from dff.data.pairs import EvaluationPairs, TrainingPairs, worker_init
from dff.data.samples import Boxes, SampleError, Snippet
from dff.data.sampling import DrawSampler, mix
from dff.data.transforms.pairs import EvaluationTransform, TrainingTransform

MINI = DATA / "cityscapes_mini"
READ = MaskReader(100)
PLAIN = TrainingTransform(None, flip=0)
RANDOM = TrainingTransform((64, 64), scale=(0.8, 1.5), colour=0.3)


class Shift:
    """The flow of frames in which everything moves 2 pixels to the right in each frame."""

    def flow(self, current, key):
        flow = np.zeros((64, 80, 2), np.float32)
        flow[..., 0] = -2 * (current - key)
        return flow, np.zeros((64, 80), bool)


@pytest.fixture
def make(tmp_path):
    """Returns a function that draws a snippet whose frames hold their own number."""

    def draw(name, numbers, labelled, truth=None, size=(64, 80)):
        frames, labels = {}, {}
        for number in numbers:
            frames[number] = str(tmp_path / f"{name}_{number}.png")
            noise = np.random.default_rng(number).integers(0, 9, (*size, 3), dtype=np.uint8)
            write_png(frames[number], noise + np.uint8(10 * number))
        for number in labelled:
            labels[number] = str(tmp_path / f"{name}_{number}_mask.png")
            write_png(labels[number], np.full(size, number, np.uint8))
        return Snippet(name, frames, list(labels), labels, truth=truth)

    return draw


def number_of(frame):
    """The number of a frame that `make` drew."""
    return int(frame.float().mean()) // 10


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_pair_is_a_labelled_frame_and_a_frame_before_it(make):
    pairs = TrainingPairs([make("a", range(12), [9, 11])], READ, PLAIN)
    for index, seed in itertools.product(range(2), range(20)):
        pair = pairs[index, seed]
        current = (9, 11)[index]
        assert number_of(pair["current"]) == current
        assert number_of(pair["key"]) == current - pair["gap"]
        assert (pair["mask"] == current).all()
        assert (pair["index"], pair["skipped"]) == (index, 0)


def test_a_pair_has_the_types_that_it_promises(make):
    snippet = make("a", range(4), [3], Shift())
    pair = TrainingPairs([snippet], READ, RANDOM, with_flow=True)[0, 1]
    assert {name: (tuple(t.shape), t.dtype) for name, t in pair.items()} == {
        "key": ((3, 64, 64), torch.uint8),
        "current": ((3, 64, 64), torch.uint8),
        "mask": ((64, 64), torch.uint8),
        "flow": ((2, 64, 64), torch.float32),
        "flow_known": ((64, 64), torch.bool),
        "occluded": ((64, 64), torch.bool),
        "size": ((2,), torch.int64),
        "gap": ((), torch.int64),
        "index": ((), torch.int64),
        "skipped": ((), torch.int64),
    }
    planes = [t.permute(1, 2, 0) if t.ndim == 3 else t for t in pair.values()]
    assert all(tensor.is_contiguous() for tensor in planes)  # channels last in memory


def gaps_of(pairs, draws=4000):
    return Counter(pairs.draw_gap(0, np.random.default_rng(seed)) for seed in range(draws))


def test_gaps_are_drawn_evenly(make):
    counts = gaps_of(TrainingPairs([make("a", range(20), [19])], READ, PLAIN))
    assert sorted(counts) == list(range(10))
    chi_square = sum((count - 400) ** 2 / 400 for count in counts.values())
    assert chi_square < 27.9  # 0.001 at 9 degrees of freedom


def test_only_gaps_whose_key_frame_exists_are_drawn(make):
    snippet = make("a", [10, 12, 15, 19], [19])
    counts = gaps_of(TrainingPairs([snippet], READ, PLAIN))
    assert sorted(counts) == [0, 4, 7, 9]
    assert min(counts.values()) > 850
    assert sorted(gaps_of(TrainingPairs([snippet], READ, PLAIN, gaps=(1, 5)))) == [4]
    assert sorted(gaps_of(TrainingPairs([snippet], READ, PLAIN, gaps=(1, 3)))) == [0]


def test_gap_0_gets_the_share_that_it_is_given(make):
    snippet = make("a", range(20), [19])
    counts = gaps_of(TrainingPairs([snippet], READ, PLAIN, gap_0_share=0.3))
    assert abs(counts[0] - 1200) < 120
    rest = [counts[gap] for gap in range(1, 10)]
    assert min(rest) > 230 and max(rest) < 400
    assert sorted(gaps_of(TrainingPairs([snippet], READ, PLAIN, gap_0_share=0))) == list(
        range(1, 10)
    )
    assert sorted(gaps_of(TrainingPairs([snippet], READ, PLAIN, gap_0_share=1))) == [0]
    single = TrainingPairs([make("b", [4], [4])], READ, PLAIN, gap_0_share=0)
    assert sorted(gaps_of(single)) == [0]


def test_a_pair_depends_on_index_and_seed_alone(make):
    snippets = [make("a", range(12), [5, 11])]
    pairs, again = (TrainingPairs(snippets, READ, RANDOM) for _ in range(2))
    draws = list(itertools.product(range(2), range(6)))
    first = [pairs[draw] for draw in draws]
    assert all(same(pair, again[draw]) for pair, draw in zip(first[::-1], draws[::-1], strict=True))
    assert len({pair["current"].numpy().tobytes() for pair in first}) == len(draws)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_do_not_matter_and_epochs_differ(make, persistent):
    pairs = TrainingPairs([make("a", range(12), [3, 5, 8, 9, 10, 11])], READ, RANDOM)

    def epochs(workers):
        sampler = DrawSampler(pairs, seed=3)
        loader = DataLoader(
            pairs,
            batch_size=2,
            sampler=sampler,
            num_workers=workers,
            worker_init_fn=worker_init,
            persistent_workers=persistent and workers > 0,
        )
        batches = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches += list(loader)
        return batches

    alone, workers = epochs(0), epochs(2)
    assert len(alone) == len(workers) == 6
    assert all(same(one, two) for one, two in zip(alone, workers, strict=True))
    frames = torch.cat([batch["current"] for batch in alone])
    assert len({frame.numpy().tobytes() for frame in frames}) == 12


def test_flow_leads_to_the_key_frame(make):
    snippet = make("a", range(8), [7], Shift())
    pairs = TrainingPairs([snippet], READ, PLAIN, gaps=(3, 3), with_flow=True)
    pair = pairs[0, 0]
    assert (pair["flow"][0] == -6).all() and (pair["flow"][1] == 0).all()
    assert pair["flow_known"].all()
    still = TrainingPairs([snippet], READ, PLAIN, gaps=(0, 0), with_flow=True)[0, 0]
    assert not still["flow"].any() and still["flow_known"].all()


def test_flow_that_nobody_knows_is_marked_so_that_batches_may_be_mixed(make):
    snippets = [make("a", range(4), [3], Shift()), make("b", range(4), [3])]
    pairs = TrainingPairs(snippets, READ, PLAIN, gaps=(1, 3), with_flow=True)
    (batch,) = DataLoader(pairs, batch_size=2, sampler=[(0, 1), (1, 1)])
    assert batch["flow_known"][0].all() and not batch["flow_known"][1].any()
    assert not batch["flow"][1].any()
    assert "flow" not in TrainingPairs(snippets, READ, PLAIN)[0, 0]


def test_the_key_frame_is_not_read_at_gap_0(make):
    snippet = make("a", [4, 5], [5])
    Path(snippet.frames[4]).unlink()
    pair = TrainingPairs([snippet], READ, RANDOM, gaps=(0, 0))[0, 0]
    assert torch.equal(pair["key"], pair["current"])
    assert pair["key"].data_ptr() != pair["current"].data_ptr()


def damage(snippet, kind):
    key, current, mask = snippet.frames[4], snippet.frames[5], snippet.masks[5]
    if kind == "cut short":
        Path(current).write_bytes(Path(current).read_bytes()[:-20])
    elif kind == "missing":
        Path(key).unlink()
    elif kind == "labels of another size":
        write_png(mask, np.zeros((32, 40), np.uint8))
    elif kind == "frames of two sizes":
        write_png(key, np.zeros((32, 40, 3), np.uint8))
    elif kind == "holds the numbers 100":
        write_png(mask, np.full((64, 80), 100, np.uint8))


KINDS = (
    "cut short",
    "missing",
    "labels of another size",
    "frames of two sizes",
    "holds the numbers 100",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_sample_is_named_with_its_files(make, kind):
    snippet = make("a", [4, 5], [5])
    damage(snippet, kind)
    message = rf"{kind}.*snippet a, key frame .*a_4\.png, current frame .*a_5\.png, .*_mask\.png"
    with pytest.raises(SampleError, match=message):
        TrainingPairs([snippet], READ, PLAIN, gaps=(1, 1))[0, 0]
    with pytest.raises(SampleError, match=message):
        EvaluationPairs([snippet], READ, EvaluationTransform(), gaps=[1])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_sample_is_replaced_by_the_next_and_counted(make, kind):
    snippets = [make(name, [4, 5], [5]) for name in "abc"]
    damage(snippets[1], kind)
    damage(snippets[2], kind)
    pairs = TrainingPairs(snippets, READ, RANDOM, gaps=(1, 1), skip_damaged=True)
    assert (pairs[1, 7]["index"], pairs[1, 7]["skipped"]) == (0, 2)
    assert pairs[0, 7]["skipped"] == 0
    assert torch.equal(pairs[1, 7]["current"], pairs[0, 7]["current"])


def test_ten_damaged_samples_in_a_row_are_no_accident(make):
    snippets = [make(f"s{i}", [4, 5], [5]) for i in range(12)]
    for snippet in snippets[1:11]:
        damage(snippet, "missing")
    pairs = TrainingPairs(snippets, READ, PLAIN, gaps=(1, 1), skip_damaged=True)
    assert pairs[2, 0]["skipped"] == 9
    with pytest.raises(SampleError, match=r"10 samples in a row cannot be used.*s10_4\.png"):
        pairs[1, 0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(gaps=(-1, 3)), r"gaps \(-1, 3\): want smallest and largest"),
        (dict(gaps=(4, 3)), r"gaps \(4, 3\): want smallest and largest"),
        (dict(gap_0_share=1.1), r"gap_0_share 1\.1: want a number from 0 to 1"),
    ],
)
def test_a_wrong_argument_is_named(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingPairs([make("a", [4, 5], [5])], READ, PLAIN, **arguments)


def test_data_without_labels_cannot_be_learnt_from(make):
    snippet = make("a", [4, 5], [])
    with pytest.raises(ValueError, match="no labelled frame in 1 snippets"):
        TrainingPairs([snippet], READ, PLAIN)
    with pytest.raises(ValueError, match="no labelled frame in 1 snippets"):
        EvaluationPairs([snippet], READ, EvaluationTransform())
    with pytest.raises(ValueError, match=r"no labelled frame has a key frame at .* \(3,\)"):
        EvaluationPairs([make("b", [4, 5], [5])], READ, EvaluationTransform(), gaps=(3,))


def test_evaluation_takes_each_labelled_frame_with_each_gap_in_order(make):
    snippets = [make("a", [3, 5, 6, 7], [7, 5]), make("b", [1], []), make("c", [9], [9])]
    pairs = EvaluationPairs(snippets, READ, EvaluationTransform(), gaps=range(5))
    made = [pairs[index] for index in range(len(pairs))]
    numbers = [(number_of(pair["current"]), int(pair["gap"])) for pair in made]
    assert numbers == [(5, 0), (5, 2), (7, 0), (7, 1), (7, 2), (7, 4), (9, 0)]
    for index, pair in enumerate(made):
        assert number_of(pair["key"]) == number_of(pair["current"]) - pair["gap"]
        assert (pair["mask"] == number_of(pair["current"])).all()
        assert pair["index"] == index
    assert all(same(pairs[index], made[index]) for index in reversed(range(len(pairs))))


def test_evaluation_reads_a_labelled_frame_once(make, monkeypatch):
    read = Counter()

    def count(path):
        read[path] += 1
        return READ(path)

    pairs = EvaluationPairs([make("a", range(8), [6, 7])], count, EvaluationTransform(), range(5))
    assert len([pairs[index] for index in range(len(pairs))]) == 10
    assert set(read.values()) == {1} and len(read) == 2


def test_writing_into_a_pair_changes_no_other(make):
    pairs = EvaluationPairs([make("a", [4, 5], [5])], READ, EvaluationTransform(), range(2))
    for tensor in pairs[0].values():
        tensor.zero_()
    assert (pairs[1]["mask"] == 5).all() and number_of(pairs[1]["current"]) == 5


def test_evaluation_keeps_the_mask_at_its_own_size(make):
    snippet = make("a", [4, 5], [5], Shift())
    transform = EvaluationTransform(128)
    pair = EvaluationPairs([snippet], READ, transform, gaps=[1], with_flow=True)[0]
    assert pair["current"].shape == pair["key"].shape == (3, 128, 160)
    assert pair["mask"].shape == pair["flow"].shape[1:] == (64, 80)
    assert (pair["flow"][0] == -2).all()


def test_an_epoch_draws_each_index_once_and_each_with_its_own_seed():
    sampler = DrawSampler(range(50), seed=1)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first == again
    assert sorted(i for i, _ in first) == sorted(i for i, _ in second) == list(range(50))
    assert [i for i, _ in first] != [i for i, _ in second]
    assert len({seed for _, seed in first + second}) == 100
    assert not set(first) & set(DrawSampler(range(50), seed=2))


def test_an_index_has_one_seed_in_one_epoch_however_many_ranks_there_are():
    alone = set(DrawSampler(range(50), seed=1))
    assert set(DrawSampler(range(50), num_replicas=5, rank=3, seed=1)) < alone


@pytest.mark.parametrize("ranks, count, each", [(2, 50, 25), (4, 50, 12), (3, 50, 16), (8, 8, 1)])
def test_ranks_are_disjoint_and_equally_long(ranks, count, each):
    draws = [list(DrawSampler(range(count), ranks, rank)) for rank in range(ranks)]
    assert [len(part) for part in draws] == [each] * ranks
    assert all(len(DrawSampler(range(count), ranks, rank)) == each for rank in range(ranks))
    indices = [index for part in draws for index, _ in part]
    assert len(set(indices)) == len(indices) == ranks * each


def test_fewer_samples_than_ranks_are_repeated():
    draws = [list(DrawSampler(range(3), 8, rank)) for rank in range(8)]
    assert [len(part) for part in draws] == [1] * 8
    assert Counter(part[0][0] for part in draws).most_common()[-1][1] >= 2


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_start_in_mid_epoch_goes_on_with_the_same_sequence(ranks):
    whole, resumed = (DrawSampler(range(20), ranks, ranks - 1, start=start) for start in (0, 4))
    for sampler in (whole, resumed):
        sampler.set_epoch(3)
    assert list(resumed) == list(whole)[4:]
    assert len(resumed) == 20 // ranks
    for sampler in (whole, resumed):
        sampler.set_epoch(4)
    assert list(resumed) == list(whole)


def test_lightning_leaves_the_sampler_alone():
    assert isinstance(DrawSampler(range(3)), DistributedSampler)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(dataset=[]), "the data set is empty"),
        (dict(dataset=range(3), seed=-1), "seed -1, start 0: want numbers from 0"),
        (dict(dataset=range(3), start=-2), "seed 0, start -2: want numbers from 0"),
        (dict(dataset=range(3), num_replicas=2, rank=2), "Invalid rank 2"),
    ],
)
def test_a_sampler_with_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        DrawSampler(**arguments)


def test_a_frame_too_small_for_the_flow_network_is_named_or_skipped(make):
    snippets = [make("small", [1], [1], size=(50, 80)), make("large", [1], [1])]
    with pytest.raises(SampleError, match=r"50x80 is too small.*skip_damaged.*small_1\.png"):
        TrainingPairs(snippets, READ, PLAIN, gaps=(0, 0))[0, 0]
    pairs = TrainingPairs(snippets, READ, PLAIN, gaps=(0, 0), skip_damaged=True)
    assert (pairs[0, 0]["index"], pairs[0, 0]["skipped"]) == (1, 1)
    # resized it is large enough
    larger = TrainingTransform(None, flip=0, short_side=100, max_side=200)
    assert TrainingPairs(snippets, READ, larger, gaps=(0, 0))[0, 0]["size"].tolist() == [100, 160]
    long = TrainingTransform(None, flip=0, short_side=90, max_side=100)
    with pytest.raises(SampleError, match="shown as 62x100"):
        TrainingPairs(snippets, READ, long, gaps=(0, 0))[0, 0]


def test_truth_that_cannot_be_read_is_damage_too(make):
    class Gone:
        def flow(self, current, key):
            raise FileNotFoundError("flow.npz is missing")

    snippets = [make("a", [1, 2], [2], Gone()), make("b", [1, 2], [2], Shift())]
    pairs = TrainingPairs(snippets, READ, PLAIN, gaps=(1, 1), skip_damaged=True, with_flow=True)
    assert (pairs[0, 0]["index"], pairs[0, 0]["skipped"]) == (1, 1)


@pytest.mark.skipif(not MINI.is_dir(), reason=f"no real Cityscapes frames at {MINI}")
def test_real_frames_become_pairs():
    transform = TrainingTransform((769, 769), scale=(0.7, 1.5), colour=0.2)
    pairs = TrainingPairs(
        cityscapes.find_snippets(MINI, "train"), cityscapes.read_train_ids, transform
    )
    pair = pairs[1, 0]
    assert len(pairs) == 8 and pair["gap"] == 0  # frames 0..3 are too far from frame 19
    assert pair["current"].shape == (3, 769, 769)
    assert set(pair["mask"].unique().tolist()) <= {*range(19), 255}
    val = cityscapes.find_snippets(MINI, "val")
    pairs = EvaluationPairs(val, cityscapes.read_train_ids, EvaluationTransform(512))
    assert [int(pairs[index]["gap"]) for index in range(len(pairs))] == [0, 1, 2, 3, 4]
    assert pairs[4]["key"].shape == (3, 512, 1024) and pairs[4]["mask"].shape == (1024, 2048)


class Numbered:
    """One box in each frame, whose corner is the number of the frame; none in frame 3."""

    def __init__(self, frame_size=None):
        self.frame_size = frame_size

    def boxes(self, frame):
        count = int(frame != 3)
        corners = np.array([[frame, 2, frame + 9, 20]] * count, np.float32).reshape(-1, 4)
        return Boxes(corners, np.full(count, 4), np.full(count, 70 + frame), self.frame_size)

    def motion(self, frame):
        return None


def boxed(snippet, source):
    return dataclasses.replace(snippet, boxes=source)


def test_boxes_are_those_of_the_current_frame(make):
    snippet = boxed(make("a", range(8), [3, 7]), Numbered((64, 80)))
    pairs = TrainingPairs([snippet], READ, PLAIN, gaps=(2, 2), with_boxes=True)
    pair = pairs[1, 0]
    assert pair["boxes"].tolist() == [[7, 2, 16, 20]] and pair["boxes"].dtype == torch.float32
    assert pair["box_labels"].tolist() == [4] and pair["box_labels"].dtype == torch.int64
    assert pair["tracks"].tolist() == [77] and "frame_boxes" not in pair
    assert pair["size"].tolist() == [64, 80]
    empty = pairs[0, 0]
    assert empty["boxes"].shape == (0, 4) and empty["box_labels"].shape == (0,)
    assert "boxes" not in TrainingPairs([snippet], READ, PLAIN)[0, 0]


def test_evaluation_gives_boxes_at_every_gap_and_reads_them_once(make):
    source, asked = Numbered(), Counter()
    boxes = source.boxes
    source.boxes = lambda frame: asked.update([frame]) or boxes(frame)
    snippet = boxed(make("a", range(8), [6, 7]), source)
    transform = EvaluationTransform(128)
    pairs = EvaluationPairs([snippet], READ, transform, range(3), with_boxes=True)
    made = [pairs[index] for index in range(len(pairs))]
    assert [pair["frame_boxes"][0, 0] for pair in made] == [6, 6, 6, 7, 7, 7]
    # what the networks see is twice as large
    assert all(torch.equal(pair["boxes"], 2 * pair["frame_boxes"]) for pair in made)
    assert all(pair["size"].tolist() == [128, 160] for pair in made)
    assert asked == {6: 1, 7: 1}


def test_data_of_boxes_alone_needs_no_masks(make):
    snippet = boxed(make("a", range(8), []), Numbered())
    snippet = dataclasses.replace(snippet, labelled=[7])
    pair = TrainingPairs([snippet], None, PLAIN, with_boxes=True)[0, 0]
    assert "mask" not in pair and len(pair["boxes"]) == 1
    pairs = EvaluationPairs([snippet], None, EvaluationTransform(), [0, 1], with_boxes=True)
    assert all("mask" not in pairs[index] for index in range(2))


def test_boxes_of_another_frame_are_named(make):
    snippet = boxed(make("a", range(8), [7]), Numbered((80, 64)))
    with pytest.raises(SampleError, match=r"boxes of a frame of another size: 80x64, .* 64x80"):
        TrainingPairs([snippet], READ, PLAIN, with_boxes=True)[0, 0]
    with pytest.raises(
        ValueError, match=r"no boxes are known of snippet b: .* with_boxes to false"
    ):
        TrainingPairs([make("b", [4], [4])], READ, PLAIN, with_boxes=True)[0, 0]


def test_a_clamped_gap_takes_the_first_frame_as_the_authors_do(make):
    snippet = make("a", range(5, 25), [5, 8, 24])
    counts = [
        Counter(
            TrainingPairs([snippet], READ, PLAIN, clamp_gaps=True).draw_gap(
                index, np.random.default_rng(seed)
            )
            for seed in range(2000)
        )
        for index in range(3)
    ]
    assert counts[0] == {0: 2000}
    assert sorted(counts[1]) == [0, 1, 2, 3]
    assert abs(counts[1][3] - 1400) < 100  # gaps 3 to 9 of ten
    assert sorted(counts[2]) == list(range(10))
    holed = TrainingPairs([make("b", [0, 2, 9], [9])], READ, PLAIN, clamp_gaps=True)
    assert sorted(gaps_of(holed)) == [0, 7, 9]


def test_parts_are_mixed_by_their_ratio_and_nothing_comes_twice():
    quotas = mix((60, 50), (2, 1))
    assert quotas == [(range(60), 60), (range(60, 110), 30)]
    assert mix((60, 10), (2, 1)) == [(range(60), 20), (range(60, 70), 10)]
    sampler = DrawSampler(range(110), seed=1, quotas=quotas)
    first = [index for index, _ in sampler]
    sampler.set_epoch(1)
    second = [index for index, _ in sampler]
    assert len(sampler) == len(first) == len(set(first)) == 90
    assert sum(index < 60 for index in first) == 60
    assert {i for i in first if i >= 60} != {i for i in second if i >= 60}
    assert 10 < sum(index < 60 for index in first[:30]) < 28  # and not part after part
    ranks = [[i for i, _ in DrawSampler(range(110), 2, r, 1, quotas=quotas)] for r in range(2)]
    assert sorted(ranks[0] + ranks[1]) == sorted(first)


@pytest.mark.parametrize(
    "counts, ratio, message",
    [
        ((3, 0), (2, 1), "parts of 3 and 0 samples .*: one is empty"),
        ((3, 4), (2, 0), r"ratio \(2, 0\): want 2 numbers above 0"),
        ((3, 4), (2,), r"ratio \(2,\): want 2 numbers above 0"),
    ],
)
def test_parts_that_cannot_be_mixed_are_named(counts, ratio, message):
    with pytest.raises(ValueError, match=message):
        mix(counts, ratio)
    with pytest.raises(ValueError, match="5 draws from 3 samples"):
        DrawSampler(range(3), quotas=[(range(3), 5)])
