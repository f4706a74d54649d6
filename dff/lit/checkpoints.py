"""Checkpoints: the newest of a run, and a model or its flow from a file."""

from pathlib import Path

import torch
from torch import nn

from dff.inference.model import read_checkpoint
from dff.lit.module import LitDFF
from dff.models import build
from dff.models.names import FlowFrom, ReadyFlowName
from dff.models.weights.files import check_finite, read_torch
from dff.models.weights.load import WeightReport, load_weights
from dff.models.weights.ready import ready_flow_network


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
    flow_network: ReadyFlowName | None = None,
    kind: type[LitDFF] = LitDFF,
    flow_from: FlowFrom | None = None,
) -> LitDFF:
    """A trained model with the settings it was trained with; nothing in the file is executed.

    Args:
        file: The checkpoint.
        flow_network: A flow that needs no training in place of the one that the model was trained
            with, as the paper's SFF has a classical one in a per-frame network; None leaves the
            model as it is.
        kind: A subclass that has tasks of its own, where the model has.
        flow_from: How the flow to a key frame is found, where not as in training.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no checkpoint of LitDFF, its weights are not finite, or the flow
            needs training.
    """
    flow = None if flow_network is None else ready_flow_network(flow_network)
    cure = "give a checkpoint that dff fit wrote for a LitDFF model"
    checkpoint = read_checkpoint(file)
    settings = checkpoint["hyper_parameters"]
    # The files that training began with need not be here: the checkpoint has their successors.
    settings |= {"weights": None, "flow_weights": None}
    try:
        module = kind(**settings)
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    except (TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{file} does not fit this version of the model ({str(error).splitlines()[0]}): {cure}"
        ) from error
    if flow is not None:
        module.model.use_flow(flow)
        module.hparams.flow_network = flow_network  # what is saved from here on is another model
    module.model.flow_from = module.hparams.flow_from = flow_from or module.model.flow_from
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
    name: build.FlowNetworkName, source: str | Path
) -> tuple[nn.Module, WeightReport]:
    """A trained flow network by itself, in eval mode.

    Args:
        name: Of the flow network.
        source: A checkpoint of LitFlow or LitDFF, or a file of weights; see `load_weights`.

    Raises:
        ValueError: There is no such flow network, or the file is of another one.
        FileNotFoundError: There is no such file.
    """
    network = build.flow_network(name)
    report = load_weights(network, source)
    return network.to(memory_format=torch.channels_last).eval(), report
