"""Accuracy by gap and by key duration."""

import math

import pytest
import torch

from dff.lit.schedule_accuracy import at_key_duration, batches_on, plain, schedule_accuracy
from dff.models.clockwork import Clockwork


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
    assert plain(accuracy)["miou"]["full"] == [0.8, 0.6, 0.4, None]


def test_any_model_serves_and_copying_is_copying(small_module, small_streets):
    """The way `copy` of a model, and a model that holds all stages, count the same."""
    module, data, gaps = small_module().eval(), small_streets(val_every=6), [0, 4]

    def count(*ways, flow=False):
        loader = data.evaluation_pairs(gaps, with_flow=flow)
        batches = batches_on(torch.device("cpu"), data, loader)
        return schedule_accuracy(module, batches, gaps, ways, flow)

    both = count("full", "copy", flow=True)
    assert both["epe_zero"][0] == 0 < both["epe_zero"][1]
    assert count("full")["miou"]["full"] == both["miou"]["full"]
    copied = count("copy")
    assert copied.keys() == {"miou"} and copied["miou"]["copy"] == both["miou"]["copy"]
    module.model = Clockwork(module.model, 0)
    assert count("full")["miou"]["full"] == both["miou"]["copy"]
