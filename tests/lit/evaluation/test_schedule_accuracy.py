"""Accuracy by gap and by key duration."""

import math
from types import SimpleNamespace

import pytest
import torch

from dff.data.files.json_values import nan_to_none
from dff.inference.tasks.detection import Detection
from dff.lit.evaluation.schedule_accuracy import (
    at_key_duration,
    batches_on,
    schedule_accuracy,
)
from dff.models.analysis.clockwork import Clockwork


def test_means_over_the_offsets_by_hand():
    accuracy = {
        "miou": {"full": [0.8, 0.6, 0.4, math.nan], "copy": [0.8, 0.4, None, 0.2]},
        "epe": [0.0, 1.0, 3.0, math.nan],
        "epe_zero": None,
    }
    row = at_key_duration(accuracy, 3)
    assert row["miou_mean"] == pytest.approx(0.6) and row["miou_worst"] == 0.4
    assert row["copy_miou_mean"] == pytest.approx(0.6)  # the offset without pairs does not count
    assert row["epe"] == 2.0 and "epe_zero" not in row
    assert at_key_duration(accuracy, 1) == {
        "miou_mean": 0.8,
        "miou_worst": 0.8,
        "copy_miou_mean": 0.8,
        "epe": None,
    }
    assert nan_to_none(accuracy)["miou"]["full"] == [0.8, 0.6, 0.4, None]


def test_any_model_serves_and_copying_is_copying(small_module, small_streets):
    """The way `copy` of a model, and a model that holds all stages, count the same."""
    module, data, gaps = small_module().eval(), small_streets(val_every=6), [0, 4]

    def count(*modes, flow=False):
        loader = data.evaluation_pairs(gaps, with_flow=flow)
        batches = batches_on(torch.device("cpu"), data, loader)
        return schedule_accuracy(module, batches, gaps, modes, flow)

    both = count("full", "copy", flow=True)
    assert both["epe_zero"][0] == 0 < both["epe_zero"][1]
    assert count("full")["miou"]["full"] == both["miou"]["full"]
    copied = count("copy")
    assert copied.keys() == {"miou"} and copied["miou"]["copy"] == both["miou"]["copy"]
    module.model = Clockwork(module.model, 0)
    assert count("full")["miou"]["full"] == both["miou"]["copy"]


def one_snippet(places, gaps):
    """A detector that finds its box where place + gap is even, and pairs of one snippet."""
    box = torch.tensor([10.0, 10.0, 60.0, 60.0])

    class Model:
        def __call__(self, key, current, gap, mode):
            return (current[:, 0, 0, 0] + gap) % 2 == 0

        def predict(self, found, size, frame):
            rows = torch.cat([box, torch.tensor([0.9, 0.0])]).repeat(len(found), 1, 1)
            rows[~found, :, 5] = -1
            return {"detection": rows}

    module = SimpleNamespace(
        model=Model(),
        device=torch.device("cpu"),
        tasks={"detection": Detection(1)},
    )
    pairs = [(place, gap) for place in places for gap in gaps if gap <= place]
    place, gap = torch.tensor(pairs).T
    count = len(pairs)
    batch = {
        "key": torch.zeros(count, 3, 1, 1),
        "current": place.view(-1, 1, 1, 1).expand(-1, 3, 1, 1).float(),
        "size": torch.full((count, 2), 100),
        "frame_size": torch.full((count, 2), 100),
        "frame_boxes": box.repeat(count, 1, 1),
        "box_labels": torch.zeros(count, 1, dtype=torch.long),
        **{"place": place, "gap": gap, "index": torch.arange(count)},
    }
    return module, batch


def test_one_run_takes_each_frame_once_at_its_offset():
    module, batch = one_snippet(range(6), range(3))
    accuracy = schedule_accuracy(module, [batch], [0, 1, 2])
    assert accuracy["map"]["full"] == pytest.approx([3 / 6, 3 / 5, 2 / 4])
    assert accuracy["map_runs"] == pytest.approx([3 / 6, 6 / 6, 3 / 6])
    row = at_key_duration(accuracy, 2)
    assert row["map_run"] == 1.0 and row["map_mean"] == pytest.approx(0.55)
    batch = {name: value[batch["gap"] != 1] for name, value in batch.items()}
    apart = schedule_accuracy(module, [batch], [0, 2])  # without gap 1 there is no run of l = 2
    assert apart["map_runs"] == pytest.approx([3 / 6])


ALL = [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("every", "known"), [(1, ALL), (4, [1, 3, 5]), (5, [1, 2, 3, 4]), (7, ALL)]
)
def test_a_run_is_of_all_offsets_alike_or_no_figure(every, known):
    """Every 4th frame lies at one offset of l = 2 and of l = 4 alone."""
    module, batch = one_snippet(range(every - 1, 140, every), range(5))
    runs = schedule_accuracy(module, [batch], range(5))["map_runs"]
    assert [duration for duration, run in enumerate(runs, 1) if not math.isnan(run)] == known
