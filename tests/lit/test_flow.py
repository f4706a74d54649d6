"""LitFlow: what it wants of its data, what it logs, what it starts from, what it draws."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from dff.data.collation import collate
from dff.lit.checkpoints import load_flow_network
from dff.lit.datamodules.loaders import to_unit_frames
from dff.lit.flow import LitFlow
from dff.lit.visualization import panels
from dff.lit.visualization.panels import Panels
from dff.models.flow.flownet import FlowNet
from dff.models.weights.flow import NAMINGS


class ShiftedPairs(L.LightningDataModule):
    """Pairs without labels, at gap 1: noise that moves by 3 and by 50 pixels to the left."""

    val_gaps = (1,)

    def __init__(self, shifts=(3, 50)):
        super().__init__()
        self.shifts = shifts

    def pair(self, index):
        frame = torch.randint(0, 255, (3, 64, 160), generator=torch.Generator().manual_seed(index))
        shift = self.shifts[index % len(self.shifts)]
        flow = torch.zeros(2, 64, 96)
        flow[0] = shift  # what is at x in the current frame is at x + shift in the key frame
        known = torch.ones(64, 96, dtype=torch.bool)
        known[:, :10], flow[:, :, :10] = False, float("inf")
        return {
            "current": frame[:, :, shift : shift + 96].byte(),
            "key": frame[:, :, :96].byte(),
            "flow": flow,
            "flow_known": known,
            "gap": torch.tensor(1),
            "index": torch.tensor(index),
        }

    def evaluation_pairs(self, gaps):
        return DataLoader(
            [self.pair(i) for i in range(4)], batch_size=2, num_workers=0, collate_fn=collate
        )

    def train_dataloader(self):
        return self.evaluation_pairs([1])

    def val_dataloader(self):
        return self.evaluation_pairs([1])

    def on_after_batch_transfer(self, batch, index):
        return to_unit_frames(batch)


@pytest.fixture
def still():
    """A flow network that sees no motion at all."""
    module = LitFlow("flownet_half")
    torch.nn.init.zeros_(module.flow_network.decoder.flow.weight)
    return module


def test_error_by_speed_is_logged_where_something_moves_so_fast(still, trainer):
    metrics = trainer().validate(still, ShiftedPairs(), verbose=False)[0]
    assert metrics["val/epe"] == metrics["val/epe_zero"] == pytest.approx((3 + 50) / 2)
    assert metrics["val/epe_gap_1"] == pytest.approx((3 + 50) / 2)
    assert metrics["val/epe_s0_10"] == pytest.approx(3)
    assert metrics["val/epe_s40"] == pytest.approx(50)
    assert "val/epe_s10_40" not in metrics


def test_data_without_labels_trains_at_object_weight_1_alone(trainer):
    data = ShiftedPairs()
    with pytest.raises(ValueError, match=r"object_weight=5 .*ShiftedPairs has none: set .*1, or u"):
        trainer(max_steps=1).fit(LitFlow("flownet_half", object_weight=5), data)
    module = LitFlow("flownet_half", optimizer="adam", milestones=[1], decay=0.5)
    run = trainer(max_steps=2, limit_val_batches=0)
    run.fit(module, data)
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(5e-5)
    assert type(run.optimizers[0]) is torch.optim.Adam
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_data_that_was_not_asked_for_flow_is_refused(small_streets, trainer):
    with pytest.raises(ValueError, match=r"Streets was not asked for it: set --data\.with_flow"):
        trainer(max_steps=1).fit(LitFlow("flownet_half"), small_streets())


def test_a_weight_for_each_prediction_layer_is_wanted():
    with pytest.raises(ValueError, match="level_weights has 2 numbers: wanted one for each of the"):
        LitFlow("flownet_half", level_weights=[1.0, 2.0])


def test_prediction_layers_weigh_as_in_flownet_which_sums_over_cells():
    of_sums = torch.tensor([0.32, 0.08, 0.02, 0.01, 0.005])
    cells = torch.tensor([5 * 7, 10 * 14, 20 * 28, 40 * 56, 80 * 112])  # of its crop, 320 x 448
    of_means = of_sums * cells
    weights = torch.tensor(LitFlow("flownet_half").level_weights)
    torch.testing.assert_close(weights, of_means / of_means[-1])


def test_weights_of_other_code_are_taken_but_for_the_scale_layer(
    small_module, small_streets, trainer, tmp_path
):
    torch.manual_seed(8)
    source = FlowNet(width=0.5)
    state = source.state_dict()
    state["decoder.scale.weight"] = torch.randn(16, source.context_channels, 1, 1)
    state["decoder.scale.bias"] = torch.randn(16)
    mega = NAMINGS[2]
    names = {
        f"flownet.{t}.{k}": state[f"{o}.{k}"]
        for t, o in mega.layers.items()
        for k in ("weight", "bias")
    }
    torch.save({"model": names}, tmp_path / "mega.pth")
    flow = LitFlow("flownet_half", flow_weights=str(tmp_path / "mega.pth"), lr=0.0)
    trainer(max_steps=1, limit_val_batches=0).fit(flow, ShiftedPairs())
    whole = small_module(flow_weights=str(tmp_path / "mega.pth"), lr=0.0)
    trainer(max_steps=1, limit_val_batches=0).fit(whole, small_streets())
    for taken in (flow.flow_network, whole.model.flow_network):
        assert torch.equal(taken.encoder.conv3.weight, source.encoder.conv3.weight)
        swapped = source.encoder.conv1.weight[:, [2, 1, 0, 5, 4, 3]]  # MEGA takes BGR
        assert torch.equal(taken.encoder.conv1.weight, swapped)
        assert torch.equal(taken.decoder.flow.bias, source.decoder.flow.bias)
    scale = whole.model.scale_layers[0]
    assert scale.weight.abs().max() == 0 and (scale.bias == 1).all()


def test_a_training_with_an_idle_scale_layer_goes_on_without_it(trainer, tmp_path):
    run = trainer(max_steps=1, limit_val_batches=0)
    run.fit(module := LitFlow("flownet_half", optimizer="adam"), ShiftedPairs())
    run.save_checkpoint(tmp_path / "old.ckpt")
    saved = torch.load(tmp_path / "old.ckpt", weights_only=True)
    channels = module.flow_network.context_channels
    saved["state_dict"]["flow_network.decoder.scale.weight"] = torch.zeros(1, channels, 1, 1)
    saved["state_dict"]["flow_network.decoder.scale.bias"] = torch.ones(1)
    torch.save(saved, tmp_path / "old.ckpt")
    again, more = LitFlow("flownet_half", optimizer="adam"), trainer(max_steps=2)
    more.fit(again, ShiftedPairs(), ckpt_path=str(tmp_path / "old.ckpt"))
    assert more.global_step == 2
    network, report = load_flow_network("flownet_half", tmp_path / "old.ckpt")
    assert report.missing == () and len(report.left_over) == 2
    state = module.flow_network.state_dict()
    assert all(torch.equal(state[n], v) for n, v in network.state_dict().items())


def test_flow_is_drawn_beside_the_truth_after_each_validation(
    still, trainer, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(panels, "_draw", lambda rows, file: (drawn.extend(rows), file.touch()))
    sent = []
    monkeypatch.setattr(panels, "log_picture", lambda _, name, file: sent.append((name, file)))
    logger = CSVLogger(tmp_path, name="run")
    run = trainer(max_steps=2, callbacks=[Panels(2)], val_check_interval=2, logger=logger)
    still.hparams.lr = 0.0
    run.fit(still, ShiftedPairs())
    assert [list(row) for row in drawn] == [
        ["key frame", "current, gap 1", f"flow, {error:.1f} px off", "true flow"]
        for error in (50, 50)
    ]
    assert (drawn[0]["flow, 50.0 px off"] == 255).all()  # white: no motion
    colour = drawn[0]["true flow"][5, 50]
    assert (drawn[0]["true flow"][:, 10:] == colour).all() and int(colour.min()) < 255
    assert (drawn[0]["true flow"][:, :10] == 255).all()  # unknown
    assert [name for name, _ in sent] == ["val/pairs"]
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").open()))
    assert any(
        float(row["val/epe_s40"] or 0) == pytest.approx(50) for row in rows if "val/epe_s40" in row
    )


def test_a_panel_is_a_picture(still, trainer, tmp_path):
    run = trainer(max_steps=2, callbacks=[Panels(2)], val_check_interval=2)
    run.fit(still, ShiftedPairs())
    (file,) = tmp_path.rglob("panels/step_000002.png")
    assert file.stat().st_size > 10_000


def test_pictures_are_of_the_largest_gap_that_there_is(small_streets):
    data = small_streets(val_gaps=[0, 4, 50])
    chosen = Panels(2)._choose(SimpleNamespace(datamodule=data))
    assert [int(batch["gap"]) for batch in chosen] == [4, 4]


def test_videos_without_true_flow_teach_nothing_and_are_refused(
    small_streets, trainer, monkeypatch
):
    data = small_streets(with_flow=True)
    known = data.snippets
    monkeypatch.setattr(
        data, "snippets", lambda split: [replace(s, truth=None) for s in known(split)]
    )
    with pytest.raises(ValueError, match="Streets knows no true flow of its training videos"):
        trainer(max_steps=1).fit(LitFlow("flownet_half"), data)
