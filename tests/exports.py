"""A small model as a checkpoint, and what is exported of it."""

import torch
from networks import SIZE, small_model

from dff.inference.export.comparison.frames import moving_frames
from dff.inference.model import read_model

SETTINGS = {
    "feature_network": "resnet18",
    "feature_channels": 16,
    "flow_network": "flownet_half",
    "num_classes": 5,
}
CLASSES = ["road", "wall", "tree", "car", "sky"]
PALETTE = [[i, 2 * i, 3 * i] for i in range(5)]


def write_checkpoint(file, model=None, **settings):
    """A checkpoint whose flow and scale field do something, and whose labels vary."""
    if model is None:
        model = small_model()
        torch.nn.init.normal_(model.scale_layers[0].weight, std=0.05)
        (scores,) = model.heads["segmentation"].children()
        torch.nn.init.normal_(scores.weight, std=0.5)
        with torch.no_grad():  # what all pixels have in common decides nothing
            mean = model.eval().encode(moving_frames(1, SIZE)[0]).mean((0, 2, 3))
            flat = scores.weight[:, :, 0, 0]
            flat -= torch.outer(flat @ mean, mean) / mean.dot(mean)
        model.flow_network.decoder.flow.weight.data.mul_(10)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    saved = {"classes": CLASSES, "palette": PALETTE}
    saved |= {"state_dict": state, "hyper_parameters": {**SETTINGS, **settings}}
    torch.save(saved, file)
    return file


def small(folder, **settings):
    """Model, tasks and settings, as the command reads them."""
    return read_model(write_checkpoint(folder / "model.ckpt", **settings))
