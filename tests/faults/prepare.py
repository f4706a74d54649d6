"""Makes what all faults share, with the package's own functions; run by the warm process."""

import sys
from pathlib import Path

import lightning as L
import torch

from dff.data.synthetic.streets.dataset import StreetSettings, draw_streets
from dff.lit.flow import LitFlow
from dff.lit.module import LitDFF


def save(module: L.LightningModule, file: Path) -> None:
    """As a training saves it, without what goes on with it."""
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.strategy.connect(module)
    trainer.save_checkpoint(file, weights_only=True)


def prepare(folder: Path, streets: dict[str, int]) -> None:
    """Writes streets and checkpoints to a folder."""
    draw_streets(folder / "streets", StreetSettings(**streets), workers=1)
    torch.manual_seed(0)
    small = {
        "feature_network": "resnet18", "flow_network": "flownet_half", "feature_channels": 16,
        "batch_norm": "trained", "num_classes": 2,
    }  # fmt: skip
    model = LitDFF(**small)
    model.classes, model.palette = ["road", "car"], [[128, 64, 128], [0, 0, 142]]
    save(model, folder / "model.ckpt")
    saved = torch.load(folder / "model.ckpt", weights_only=True)
    torch.save(saved["state_dict"], folder / "weights.ckpt")
    state = saved["state_dict"]
    saved["hyper_parameters"]["feature_channels"] = 24
    torch.save(saved, folder / "wide.ckpt")
    saved["hyper_parameters"]["feature_channels"] = 16
    saved["state_dict"] = {k.replace("model.", "model._orig_mod.", 1): v for k, v in state.items()}
    torch.save(saved, folder / "compiled.ckpt")
    saved["state_dict"] = state
    next(v for k, v in state.items() if k.endswith("weight")).fill_(float("nan"))
    torch.save(saved, folder / "nan.ckpt")
    save(LitDFF(**{**small, "num_classes": 19}), folder / "street_model.ckpt")
    save(LitFlow(flow_network="flownet_half"), folder / "flow.ckpt")


if __name__ == "__main__":
    import ast

    prepare(Path(sys.argv[1]), ast.literal_eval(sys.argv[2]))
