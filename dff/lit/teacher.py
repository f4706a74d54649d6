"""The model that learning without labels takes its truth from."""

from pathlib import Path
from typing import Any, NamedTuple

from dff.inference.model import read_checkpoint
from dff.inference.per_frame import per_frame_networks
from dff.inference.tasks.choice import tasks_of
from dff.models import build
from dff.models.contracts import Task
from dff.models.dff import DeepFeatureFlow
from dff.models.names import FlowNetworkName
from dff.models.per_frame.named import is_per_frame_name
from dff.models.weights.files import plain_names


class Teacher(NamedTuple):
    """A trained model with the flow network that is to be trained.

    `settings`: of `LitDFF` with this flow network; of a per-frame model by its name, what it was
    and its flow network.
    """

    settings: dict[str, Any]
    tasks: dict[str, Task]
    model: DeepFeatureFlow


def load_teacher(
    source: str, flow_network: FlowNetworkName | None, weights: str | None, random: bool
) -> Teacher:
    """A trained model, and the flow network that learns from it.

    Args:
        source: A checkpoint, or a per-frame model by its name.
        flow_network: Another flow network than the model's; None keeps that of a checkpoint.
        weights: Of a per-frame model of torchvision, a file.
        random: Whether a per-frame model has random weights.

    Raises:
        ConnectionError: Weights cannot be downloaded.
        FileNotFoundError: There is no such file.
        ValueError: It is no trained model, its tasks cannot compare results with results, or there
            is no flow network to train.
    """
    if is_per_frame_name(source):
        teacher = _by_name(source, flow_network, weights, random)
    elif weights or random:
        raise ValueError(
            f"teacher_weights and random_weights go with a model by its name, and the teacher is "
            f"{source}: a checkpoint has its own weights"
        )
    else:
        teacher = _from_checkpoint(source, flow_network)
    for name, task in teacher.tasks.items():
        if type(task).as_targets is Task.as_targets:
            raise ValueError(
                f"the task {name} of the teacher cannot compare results with results, so agreement "
                "cannot be told: give its class a method `as_targets`"
            )
    if next(teacher.model.flow_network.parameters(), None) is None:
        raise ValueError(
            f"the teacher's flow {teacher.settings['flow_network']} learns nothing: set "
            "--model.flow_network flownet_half or another, with --model.flow_weights"
        )
    return teacher


def _by_name(
    spec: str, flow_network: FlowNetworkName | None, weights: str | None, random: bool
) -> Teacher:
    flow = flow_network or "zero"
    model, task = per_frame_networks(spec, Path(weights) if weights else None, random, flow)
    return Teacher({"per_frame_model": spec, "flow_network": flow}, {task.name: task}, model)


def _from_checkpoint(file: str, flow_network: FlowNetworkName | None) -> Teacher:
    checkpoint = read_checkpoint(file)
    settings = dict(checkpoint["hyper_parameters"])
    tasks = tasks_of(settings)
    try:
        model = build.networks(settings, list(tasks.values()))
        state = plain_names(checkpoint["state_dict"])
        model.load_state_dict({n.removeprefix("model."): value for n, value in state.items()})
    except (TypeError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"teacher {file} does not fit this version of the model "
            f"({str(error).splitlines()[0]}): give a checkpoint that dff fit wrote"
        ) from error
    for task in tasks.values():
        task.load_names(checkpoint)
    if flow_network is not None:
        model.use_flow(build.flow_network(flow_network))
        settings["flow_network"] = flow_network
    return Teacher(settings | {"weights": None, "flow_weights": None}, tasks, model)
