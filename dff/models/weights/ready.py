"""Flows that need no training: classical ones, and a network that comes with its weights."""

from typing import cast, get_args

from torch import nn

from dff.models import build
from dff.models.names import CodecFlowName, FlowName, ReadyFlowName
from dff.models.weights.load import SHIPPED, load_weights


def ready_flow_network(name: str) -> nn.Module:
    """A flow that needs no training, by its name.

    Raises:
        ValueError: It is the name of none.
    """
    known = (*get_args(ReadyFlowName), *get_args(CodecFlowName))
    if name not in known:
        raise ValueError(
            f"flow network {name!r} in place of the trained one: wanted one that has nothing to "
            f"learn, {', '.join(known)}"
        )
    network = build.flow_network(cast(FlowName, name))
    weights = shipped_weights(name)
    if weights is not None:
        load_weights(network, weights)
    return network


def shipped_weights(name: str) -> str | None:
    """What the weights of a flow network are called that come with the package; None: none do."""
    source = f"dff:{name}"
    return source if source in SHIPPED else None
