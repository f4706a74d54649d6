"""Where a feature network begins: weights of a file, of torchvision or of timm."""

from pathlib import Path

from torch import nn

from dff.models.backbones.timm import TimmFeatures
from dff.models.weights.load import load_weights, read_weights

TIMM = "timm"
"""In place of a file: the weights that timm downloads for its network."""


def load_feature_network(network: nn.Module, source: str | Path) -> str:
    """Sets the weights of a feature network, or does not at all.

    Args:
        network: A ResNet of the paper or a network of timm.
        source: As for `load_weights`; for a network of timm also a file in timm's naming, or
            "timm" for those that timm downloads.

    Returns:
        What was loaded, in words.

    Raises:
        FileNotFoundError: There is no such file.
        ConnectionError: The weights cannot be downloaded.
        ValueError: They are of another kind or of another network.
    """
    if not isinstance(network, TimmFeatures):
        if str(source) == TIMM:
            raise ValueError(
                "weights timm for a ResNet of the paper: wanted a file or torchvision:NAME; timm's "
                "weights go with --model.feature_network timm:NAME"
            )
        return str(load_weights(network, source))
    if str(source) == TIMM:
        return network.load_pretrained()
    state, _, _ = read_weights(source)
    if any(".join.weight" in f".{name}" for name in state):  # ours, with the layers behind
        return str(load_weights(network, source))
    try:
        return network.load_pretrained(state)
    except ValueError as error:
        raise ValueError(f"{source} holds {error}") from error
