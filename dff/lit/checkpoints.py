"""Checkpoints: the newest of a run, and a model or its flow from a file."""

from pathlib import Path
from typing import get_args

import torch
from torch import nn

from dff.lit.module import LitDFF
from dff.models import build
from dff.models.weights.files import check_finite, read_torch
from dff.models.weights.load import WeightReport, load_weights


def last_checkpoint(run: str | Path) -> Path:
    """The newest `last*.ckpt` below a run's folder.

    Raises:
        FileNotFoundError: There is none to go on from.
    """
    found = sorted(Path(run).glob("**/last*.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise FileNotFoundError(
            f"no last.ckpt below {run}, so there is nothing to go on from: leave out --ckpt_path "
            "to begin, set --name to that of the run, or give the checkpoint's file"
        )
    return found[-1]


def load_model(
    file: str | Path,
    flow_network: build.ClassicalFlowName | None = None,
    kind: type[LitDFF] = LitDFF,
) -> LitDFF:
    """A trained model with the settings it was trained with; nothing in the file is executed.

    Args:
        file: The checkpoint.
        flow_network: A classical flow in place of the one that the model was trained with, as the
            paper's SFF has it in a per-frame network; None leaves the model as it is.
        kind: A subclass that has tasks of its own, where the model has.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no checkpoint of LitDFF, its weights are not finite, or the flow is
            not made by hand.
    """
    classical = get_args(build.ClassicalFlowName)
    if flow_network is not None and flow_network not in classical:
        raise ValueError(
            f"flow network {flow_network!r} in place of the trained one: wanted one that has "
            f"nothing to learn, {', '.join(classical)}"
        )
    file = Path(file)
    cure = "give a checkpoint that dff fit wrote for a LitDFF model"
    convert = (
        f"it has no settings of a model; dff convert {file} model.ckpt makes a "
        "checkpoint of the official detection model, and --model.weights of dff fit begins "
        "a training from it"
    )
    checkpoint = read_torch(file, "a checkpoint", cure, convert)
    settings = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if not isinstance(settings, dict) or "feature_network" not in settings:
        kind = (
            "a flow network's checkpoint"
            if isinstance(settings, dict) and "flow_network" in settings
            else "no checkpoint of this project"
        )
        raise ValueError(f"{file} is {kind}: {cure}")
    settings = {k: v for k, v in settings.items() if not k.startswith("_")}
    # The files that training began with need not be here: the checkpoint has their successors.
    settings |= {"weights": None, "flow_weights": None}
    try:
        module = kind(**settings)
        module.on_load_checkpoint(checkpoint)
        check_finite(checkpoint["state_dict"], file)
        module.load_state_dict(checkpoint["state_dict"])
    except (TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{file} does not fit this version of the model ({str(error).splitlines()[0]}): {cure}"
        ) from error
    if flow_network is not None:
        module.model.flow_network = build.flow_network(flow_network)
        module.hparams.flow_network = flow_network  # what is saved from here on is another model
    return module.eval()


def check_continued(file: str | Path, model: str) -> tuple[int, int]:
    """Checks that a training can go on from a file.

    Args:
        file: What `--ckpt_path` names.
        model: Class of the model that is trained.

    Returns:
        The steps and the epochs that it has.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint of a training, cannot be read, or its weights are not
            finite.
    """
    cure = f"give a checkpoint that dff fit wrote for a {model} model"
    setting = "flow_weights" if model == "LitFlow" else "weights"
    begin = f"a training begins from weights by --model.{setting} {file}, not by --ckpt_path"
    checkpoint = read_torch(file, "a checkpoint", cure, begin, mmap=True)
    if not isinstance(checkpoint, dict) or not {"loops", "optimizer_states"} <= checkpoint.keys():
        raise ValueError(f"{file} is no checkpoint that a training can go on from: {cure}")
    check_finite(checkpoint.get("state_dict", {}), file)
    epochs = checkpoint["loops"].get("fit_loop", {}).get("epoch_progress", {})
    done = epochs.get("current", {}).get("processed", 0)
    return checkpoint.get("global_step", 0), done


def load_flow_network(
    name: build.FlowNetworkName, source: str | Path, feature_channels: int = 1
) -> tuple[nn.Module, WeightReport]:
    """A trained flow network by itself, in eval mode; its scale field is 1.

    Args:
        name: Of the flow network.
        source: A checkpoint of LitFlow or LitDFF, or a file of weights; see `load_weights`.
        feature_channels: Of the scale field.

    Raises:
        ValueError: There is no such flow network, or the file is of another one.
        FileNotFoundError: There is no such file.
    """
    network = build.flow_network(name, feature_channels)
    report = load_weights(network, source, keep=("scale",))
    return network.to(memory_format=torch.channels_last).eval(), report
