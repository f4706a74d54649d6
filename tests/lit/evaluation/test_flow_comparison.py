"""Flow functions over the same pairs."""

import pytest
import torch
from torch import nn

from dff.lit.evaluation.flow_comparison import (
    at_stride_16,
    compare_flows,
    comparison_table,
    flow_function,
    title,
)
from dff.models.contracts import Flow
from dff.models.flow.classical import NoFlow


class Constant(nn.Module):
    """A flow of (16, -8) pixels of the image."""

    stride, context_channels = 16, 0

    def forward(self, current, key):
        zero = NoFlow()(current, key).field
        return Flow(zero + torch.tensor([16.0, -8.0]).view(1, 2, 1, 1))


def batch_of(flow, known=None):
    count, _, height, width = flow.shape
    frames = torch.rand(count, 3, height, width)
    known = torch.ones(count, height, width, dtype=torch.bool) if known is None else known
    return {"current": frames, "key": frames, "flow": flow, "flow_known": known}


def test_errors_of_known_flows_by_hand():
    truth = torch.tensor([16.0, -8.0]).view(1, 2, 1, 1).repeat(3, 1, 64, 96)
    report = compare_flows(
        {"zero": NoFlow(), "right": Constant()}, [batch_of(truth[:2]), batch_of(truth[2:])]
    )
    length = (16**2 + 8**2) ** 0.5
    assert report["zero"]["epe"] == pytest.approx(length) == report["zero"]["epe_s10_40"]
    assert report["zero"]["epe_cells"] == pytest.approx(length)
    assert report["zero"]["epe_s0_10"] is None and report["zero"]["epe_s40"] is None
    assert report["right"]["epe"] == report["right"]["epe_cells"] == 0
    assert report["true"]["epe"] == report["true"]["epe_cells"] == 0
    assert report["right"]["seconds"] > 0


def test_what_is_unknown_counts_nowhere():
    truth = torch.zeros(1, 2, 64, 64)
    truth[..., :40], truth[..., 40:] = 4.0, torch.inf
    known = torch.zeros(1, 64, 64, dtype=torch.bool)
    known[..., :40] = True
    cells, cells_known = at_stride_16(truth, known)
    # the third column of cells is known by half, the fourth not at all
    assert cells_known[0, 0].tolist() == [True, True, True, False]
    assert cells[0, :, 0].tolist() == [[4.0, 4.0, 4.0, 0.0]] * 2
    report = compare_flows({"zero": NoFlow()}, [batch_of(truth, known)])
    assert report["zero"]["epe"] == pytest.approx(4 * 2**0.5)
    assert report["zero"]["epe_cells"] == pytest.approx(4 * 2**0.5)


def test_what_the_stride_costs_is_said():
    """A step of the flow within a cell is no flow of cells."""
    truth = torch.zeros(1, 2, 64, 64)
    truth[:, 0, :, 24:] = 8.0
    report = compare_flows({}, [batch_of(truth)])
    assert report["true"]["epe_cells"] == 0 and 0.3 < report["true"]["epe"] < 1.5


def test_flows_come_by_name_or_from_a_checkpoint(tmp_path):
    assert isinstance(flow_function("zero"), NoFlow)
    flow = flow_function("dis_fast")(torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96))
    assert flow.field.shape == (1, 2, 32, 48)
    with pytest.raises(FileNotFoundError, match="nowhere is neither a checkpoint nor a flow: want"):
        flow_function("nowhere")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(ValueError, match=r"text.ckpt cannot be read as a checkpoint \(it is text"):
        flow_function(str(tmp_path / "text.ckpt"))
    torch.save({"state_dict": {}}, tmp_path / "bare.ckpt")
    with pytest.raises(ValueError, match=r"bare.ckpt is no checkpoint that tells its flow"):
        flow_function(str(tmp_path / "bare.ckpt"))


def test_a_table_names_a_checkpoint_by_its_run():
    assert title("runs/my_flow/version_0/checkpoints/last.ckpt") == "my_flow"
    assert title("dis_fast") == "dis_fast" and title("some/where.ckpt") == "some/where.ckpt"
    row = {"epe": 2.0, "epe_cells": 1.0, "epe_s0_10": 1.5, "epe_s10_40": 3.0, "epe_s40": None}
    text = comparison_table({"zero": row | {"seconds": 0.0125}, "true": row | {"seconds": 1.0}})
    lines = text.splitlines()
    assert lines[2] == "| zero flow | 2.00 | 1.00 | 1.50 | 3.00 | - | 12 |"
    assert lines[3].startswith("| true flow at stride 16 |") and lines[3].endswith("| - |")
    assert {line.count("|") for line in lines} == {8}
