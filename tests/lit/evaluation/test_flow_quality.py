import json
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from levels import ConstantFlow, Pyramid
from small import ROOT

from dff.data.synthetic.streets.dataset import truth_for
from dff.lit.evaluation.flow_quality import (
    FlowMonitor,
    FlowQuality,
    areas_of,
    border_band,
    cells_of,
)
from dff.lit.evaluation.flow_report import flow_network_before, flow_table, measure_flow, plot_flow
from dff.models.contracts import Flow
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.classical import NoFlow


class TrueFlowFunction(torch.nn.Module):
    """A flow function that was told the truth of the batches that come, in their order."""

    stride, context_channels = 1, 0

    def __init__(self, truths):
        super().__init__()
        self.truths = list(truths)

    def forward(self, current, key):
        return Flow(self.truths.pop(0))


class MeanColours(torch.nn.Module):
    """The mean colour of each cell: moves with the picture when that moves by whole cells."""

    channels, strides = (3,), (16,)

    def forward(self, image):
        return F.avg_pool2d(image, 16, ceil_mode=True)


def moved_pair(cells_x=1, cells_y=0, gap=2):
    """A picture, and the same moved by whole cells to the right and down; truth of the move."""
    torch.manual_seed(0)
    scene = torch.rand(1, 3, 64, 96)
    shift = (16 * cells_y, 16 * cells_x)
    current = torch.roll(scene, shift, (2, 3))
    flow = torch.zeros(1, 2, 64, 96)
    flow[:, 0], flow[:, 1] = -shift[1], -shift[0]
    x = torch.arange(96) + flow[:, 0]
    y = torch.arange(64)[:, None] + flow[:, 1]
    mask = torch.zeros(1, 64, 96, dtype=torch.uint8)
    mask[:, :, 48:] = 1
    return {
        "key": scene,
        "current": current,
        "gap": torch.tensor([gap]),
        "size": torch.tensor([[64, 96]]),
        "mask": mask,
        "flow": flow,
        "flow_known": torch.ones(1, 64, 96, dtype=torch.bool),
        "occluded": (x < 0) | (y < 0),
    }


def joined(*batches):
    return {name: torch.cat([b[name] for b in batches]) for name in batches[0]}


def measured(batches, gaps, flow=None):
    """The report of a model with a told flow, or another flow function."""
    flow = flow or TrueFlowFunction(batch["flow"] for batch in batches)
    model = DeepFeatureFlow(MeanColours(), flow, {})
    module = SimpleNamespace(model=model, device=torch.device("cpu"))
    return measure_flow(module, batches, gaps)


def test_the_true_flow_has_no_error_and_zero_flow_the_mean_length_of_it():
    report = measured([moved_pair(1, 1, gap=2), moved_pair(2, 0, gap=5)], [2, 5])
    assert report["epe"]["after"]["all"] == pytest.approx([0, 0], abs=1e-4)
    for area in ("all", "border", "occluded"):
        assert report["epe"]["zero"][area] == pytest.approx([16 * 2**0.5, 32])
    still = TrueFlowFunction([torch.zeros(1, 2, 64, 96)])
    report = measured([moved_pair(2, 0)], [2], still)
    assert report["epe"]["after"]["all"] == report["epe"]["zero"]["all"] == [32]


def test_an_error_is_counted_where_it_is():
    batch = moved_pair(0, 0)
    batch["flow"][:, 0, :, :8] = 4.0  # a network that says 0 is wrong there, and only there
    batch["occluded"][:, :, :16] = True
    report = measured([batch], [2], TrueFlowFunction([torch.zeros(1, 2, 64, 96)]))
    assert report["epe"]["after"]["all"] == [pytest.approx(4 * 8 / 96)]
    assert report["epe"]["after"]["occluded"] == [pytest.approx(2)]
    assert report["epe"]["after"]["border"] == [0]
    assert report["share"] == {
        "all": [1],
        "border": [pytest.approx(16 / 96)],
        "occluded": [pytest.approx(16 / 96)],
    }


def test_features_that_move_with_the_picture_are_carried_whole_where_they_can_be_seen():
    # 1 of 6 columns of cells comes from outside the key frame: features 0, cosine 0
    report = measured([moved_pair(1, 0)], [2])
    cosine = report["cosine"]
    assert cosine["after"]["occluded"] == [pytest.approx(0, abs=0.01)]
    assert cosine["after"]["all"] == [pytest.approx(5 / 6, abs=0.002)]
    assert cosine["after_no_scale"] == cosine["after"]
    assert 0 < cosine["copy"]["all"][0] < 1
    assert measured([moved_pair(0, 0)], [2])["cosine"]["copy"]["all"] == [pytest.approx(1)]


def test_a_scale_field_turns_features_unless_it_is_alike_for_all_channels():
    batch = moved_pair(0, 0)
    features = MeanColours()(batch["key"])
    flow = Flow(torch.zeros(1, 2, 4, 6))
    model = DeepFeatureFlow(MeanColours(), NoFlow(), {})
    scale = torch.full((1, 3, 4, 6), 0.25)
    model.scale_field = lambda *_: scale
    quality = FlowQuality([2])
    quality.update(batch, features, features, flow, model)
    assert quality.compute()["cosine_full"]["all"].item() == pytest.approx(1)
    scale[:, 1:] = 0
    one = features[:, 0] / features.norm(dim=1)  # only the first channel is left
    quality = FlowQuality([2])
    quality.update(batch, features, features, flow, model)
    found = quality.compute()
    assert found["cosine_full"]["all"].item() == pytest.approx(one.mean().item())
    assert found["cosine_no_scale"]["all"].item() == pytest.approx(1)


def test_borders_of_two_objects_by_hand():
    mask = torch.zeros(1, 9, 12, dtype=torch.uint8)
    mask[0, 2:5, 2:5] = 7
    mask[0, 7:, 9:] = 8
    narrow = border_band(mask, 1)[0]
    # the ring inside and the ring outside without its corners; the corner object has two sides
    assert narrow.sum() == (8 + 12) + (4 + 2 + 3)
    assert not narrow[3, 3] and not narrow[1, 1] and narrow[1, 2] and narrow[2, 2]
    assert narrow[6, 9:].all() and narrow[7:, 8].all() and not narrow[8, 11] and not narrow[6, 8]
    wide = border_band(mask, 2)[0]
    assert wide[:7, :7].sum() == 49 - 4  # all around the object but the corners farthest out
    assert not wide[3, 7] and wide[5, 8:].all() and not wide[4, 7:].any()
    assert border_band(mask[:, :, :1], 2).sum() == 0


def test_the_band_has_its_width_on_each_side_and_255_is_no_class():
    mask = torch.zeros(1, 40, 60, dtype=torch.uint8)
    mask[:, :, 30:] = 3
    assert border_band(mask, 8)[0].any(0).nonzero().flatten().tolist() == list(range(22, 38))
    mask[:, :, 29] = 255
    assert not border_band(mask, 8).any()
    with pytest.raises(ValueError, match="a border of 0 pixels"):
        border_band(mask, 0)


def test_a_cell_belongs_to_an_area_that_covers_half_of_it():
    areas = torch.zeros(1, 2, 32, 32, dtype=torch.bool)
    areas[0, 0, :16, :8] = True  # half of the first cell
    areas[0, 1, 16:, 16:23] = True  # less of the last one
    assert cells_of(areas, (2, 2)).tolist() == [
        [[[True, False], [False, False]], [[False, False], [False, False]]]
    ]


def test_the_sums_are_those_of_any_split_of_the_batch():
    batches = [moved_pair(1, 0), moved_pair(0, 1), moved_pair(2, 1, gap=5)]
    still = [torch.zeros(1, 2, 64, 96)] * 3
    parts = measured(batches, [2, 5], TrueFlowFunction(still))
    whole = measured([joined(*batches)], [2, 5], TrueFlowFunction([torch.cat(still)]))
    assert parts == whole
    assert parts["epe"]["zero"]["all"] == [16, pytest.approx(16 * 5**0.5)]


def test_data_without_true_flow_or_masks_still_tells_how_features_are_carried(tmp_path):
    batch = moved_pair(1, 0)
    flow = TrueFlowFunction([batch["flow"], batch["flow"]])
    for name in ("flow", "flow_known", "occluded"):
        del batch[name]
    report = measured([batch], [2], flow)
    assert report["epe"]["after"]["all"] == report["cosine"]["after"]["occluded"] == [None]
    assert report["cosine"]["after"]["border"] == [pytest.approx(1)]
    assert "no true flow" in flow_table(report)
    plot_flow(report, tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 5000
    del batch["mask"]
    batch["frame_size"] = batch["size"]
    assert areas_of(batch, (64, 96)).sum((0, 2, 3)).tolist() == [64 * 96, 0, 0]


@pytest.mark.parametrize("gaps", [[], [0, 4]])
def test_a_key_frame_has_no_flow_to_measure(gaps):
    with pytest.raises(ValueError, match="each 1 or more, as a key frame has no flow"):
        FlowQuality(gaps)


def test_streets_tell_what_is_occluded_and_know_the_flow_there_too(small_streets, streets_root):
    loader = small_streets(val_every=8, val_batch_size=1).evaluation_pairs([4], with_flow=True)
    (batch,) = list(loader)
    _, occluded = truth_for(streets_root, "val", "streets/streets_000000").flow(7, 3)
    assert occluded.any() and torch.equal(batch["occluded"][0], torch.from_numpy(occluded))
    assert batch["flow_known"].all()


def test_the_flow_network_before_has_its_old_weights(small_module, tmp_path):
    torch.manual_seed(1)
    module, old = small_module().eval(), small_module().eval()
    with torch.no_grad():
        old.model.flow_network.decoder.flow.bias.fill_(0.5)
    torch.save({"state_dict": old.state_dict()}, tmp_path / "old.ckpt")
    before, used = flow_network_before(module, tmp_path / "old.ckpt")
    assert used.missing == () and not any("scale" in name for name in used.used)
    assert sum("scale_layers.0." in name for name in used.left_over) == 2
    frames = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        flow = before(*frames).field
        assert torch.equal(flow, old.model.flow_network(*frames).field)
        assert not torch.equal(flow, module.model.flow_network(*frames).field)
    module.model.flow_network = TrueFlowFunction([])
    with pytest.raises(ValueError, match="is a classical flow and learns nothing"):
        flow_network_before(module, tmp_path / "old.ckpt")


def test_the_flow_before_is_measured_with_a_scale_field_of_1(small_module, small_streets):
    """Whatever the model has learned: the scale layers before joint training are those of 1."""
    module = small_module().eval()
    module.val_gaps = [4]
    with torch.no_grad():
        torch.nn.init.uniform_(module.model.scale_layers[0].bias, -1, 3)
    data = small_streets(val_every=8, val_batch_size=2)
    batches = [data.on_after_batch_transfer(b, 0) for b in data.evaluation_pairs([4])]
    cosine = measure_flow(module, batches, [4], module.model.flow_network)["cosine"]
    assert cosine["before"] == cosine["after_no_scale"] != cosine["after"]


def test_of_several_levels_the_finest_counts():
    x, y = 16, 8
    batch = moved_pair(0, 0)
    batch["current"] = torch.rand(1, 3, 64, 96)
    batch["key"] = torch.zeros(1, 3, 64, 96)
    batch["key"][..., y:, x:] = batch["current"][..., :-y, :-x]
    batch["flow"][:, 0], batch["flow"][:, 1] = x, y
    model = DeepFeatureFlow(Pyramid(), ConstantFlow(x, y), {})
    with torch.no_grad():
        for layer in model.feature_network.layers:
            layer.bias.zero_()
        features, own = model.encode(batch["key"]), model.encode(batch["current"])
        quality = FlowQuality([2])
        flow = model.find_flow(batch["key"], batch["current"])
        quality.update(batch, features, own, flow, model)
        found = quality.compute()
        # of 8 x 12 cells, the last row and the last two columns come from outside
        assert found["cosine_no_scale"]["all"].item() == pytest.approx(7 * 10 / (8 * 12), abs=1e-3)
        assert found["epe"]["all"].item() == pytest.approx(0, abs=1e-4)
        again = FlowQuality([2])
        own = (own[0], torch.full_like(own[1], torch.nan))  # is not read
        again.update(batch, features, own, flow, model)
        for mode in ("copy", "no_scale", "full"):
            expected = found[f"cosine_{mode}"]["all"]
            assert torch.equal(again.compute()[f"cosine_{mode}"]["all"], expected)


def test_the_script_writes_table_figures_and_picture(
    small_module, small_streets, trainer, tmp_path, monkeypatch, capsys
):
    import runpy

    from small import SMALL

    module = small_module()
    run = trainer()
    run.strategy.connect(module)
    run.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    streets = small_streets()
    flags = [f"--data.{name}={value}" for name, value in SMALL.items()]
    arguments = [
        *(
            "measure_flow.py",
            str(tmp_path / "model.ckpt"),
            "--before",
            str(tmp_path / "model.ckpt"),
        ),
        *("--data=Streets", *flags, f"--data.root={streets.root}", "--data.num_workers=0"),
        *("--data.val_every=6", "--gaps=[1,4]", "--device=cpu", f"--output={tmp_path / 'out'}"),
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "measure_flow.py"), run_name="__main__")
    assert not stop.value.code
    assert "| EPE px, before |" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "flow_quality.json").read_text())
    assert report["gaps"] == [1, 4] and len(report["epe"]["zero"]["occluded"]) == 2
    assert report["epe"]["before"] == report["epe"]["after"]  # the same weights
    assert (tmp_path / "out" / "flow_quality.md").read_text().count("\n") == 2 + 2 * 3
    assert (tmp_path / "out" / "flow_quality.png").stat().st_size > 5000


@pytest.mark.parametrize(("every", "with_flow"), [(1, True), (2, False), (0, True)])
def test_validation_logs_the_same_figures(small_module, small_streets, trainer, every, with_flow):
    module = small_module()
    data = small_streets(with_flow=with_flow, val_batch_size=3)
    run = trainer(callbacks=[FlowMonitor(every)])
    (logged,) = run.validate(module, data, verbose=False)
    assert ("val/cosine_gap_4" in logged) == bool(every)
    assert ("val/flow_epe_gap_4" in logged) == (bool(every) and with_flow)
    assert not any(name.endswith("_gap_0") and "miou" not in name for name in logged)
    if every == 1:
        batches = [
            data.on_after_batch_transfer(b, 0) for b in data.evaluation_pairs([4], with_flow=True)
        ]
        report = measure_flow(module.eval(), batches, [4])
        assert logged["val/cosine_gap_4"] == pytest.approx(report["cosine"]["after"]["all"][0])
        for name, (which, area) in {
            "flow_epe": ("after", "all"),
            "flow_epe_border": ("after", "border"),
            "flow_epe_occluded": ("after", "occluded"),
            "flow_epe_zero": ("zero", "all"),
        }.items():
            assert logged[f"val/{name}_gap_4"] == pytest.approx(report["epe"][which][area][0])


def test_a_monitor_of_every_minus_1_is_refused():
    with pytest.raises(ValueError, match="every -1: wanted 0"):
        FlowMonitor(-1)
