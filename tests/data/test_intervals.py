"""Evaluation by key frame: the pairs are the same, and the frames between come along."""

import pytest
import torch

from dff.inference.recognizer import stream
from dff.lit.evaluation.schedule_accuracy import batches_on, schedule_accuracy
from dff.lit.metrics.accuracy import GapAccuracy
from dff.models.schedule import FixedSchedule

GAPS = [0, 1, 3]


def accuracy(module, data, flow_from):
    module.model.flow_from = flow_from
    loader = data.evaluation_pairs(GAPS, flow_from=flow_from)
    batches = batches_on(torch.device("cpu"), data, loader)
    return schedule_accuracy(module.eval(), batches, GAPS)["miou"]["full"]


@pytest.fixture
def module(small_module):
    module = small_module()
    torch.manual_seed(1)
    torch.nn.init.normal_(module.model.heads["segmentation"].scores.weight, std=0.5)
    return module


def test_each_batch_is_a_key_frame_with_all_frames_after_it(small_streets):
    data = small_streets()
    pairs = data.evaluation_pairs(GAPS).dataset
    batches = list(data.evaluation_pairs(GAPS, flow_from="warm"))
    assert sum(len(batch["gap"]) for batch in batches) == len(pairs)
    for batch in batches:
        assert len(batch["frames"]) == 1 + batch["gap"].max()
        assert (batch["frames"][batch["gap"]] == batch["current"]).all()
        assert (batch["frames"][0] == batch["key"]).all()
        assert batch["gap"].tolist() == sorted(set(batch["gap"].tolist()))
    assert [int(b["index"][0]) for b in batches] == list(range(len(batches)))
    two = [
        list(data.evaluation_pairs(GAPS, rank=r, world_size=2, flow_from="warm")) for r in range(2)
    ]
    assert sum(map(len, two)) == len(batches)


def test_a_trainer_validates_and_learns_by_way_of_the_frame_before(
    small_module, small_streets, trainer
):
    module, data = small_module(flow_from="warm"), small_streets(val_gaps=[0, 4], gaps=(3, 5))
    seen = []
    module.on_train_batch_start = lambda batch, index: seen.append(batch)
    fit = trainer(max_steps=1, val_check_interval=1)
    fit.fit(module, data)
    (batch,) = seen
    assert batch["previous"].shape == batch["current"].shape
    for row in ("key", "current"):
        assert not torch.equal(batch["previous"], batch[row])
    assert {"val/miou_gap_0", "val/miou_gap_4"} <= fit.callback_metrics.keys()


def test_what_a_live_stream_gives_is_what_is_counted(module, small_streets):
    data = small_streets()
    plain = accuracy(module, data, "key")
    warm = accuracy(module, data, "warm")
    assert warm[:2] == pytest.approx(plain[:2], abs=1e-6) and warm[2] != plain[2]
    # the same as a stream gives, of each frame at this distance from a key frame
    counted = GapAccuracy(module.tasks, [3])
    for batch in batches_on(
        torch.device("cpu"), data, data.evaluation_pairs([3], flow_from="warm")
    ):
        with torch.inference_mode():
            live = list(stream(module.model, batch["frames"].split(1), FixedSchedule(9)))
        counted.update(live[3], batch, torch.ones(1, dtype=torch.bool))
    found = counted.compute()["segmentation"]["by_gap"]
    assert found.tolist() == pytest.approx(warm[2:], abs=1e-6)
