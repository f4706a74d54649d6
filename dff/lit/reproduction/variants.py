"""The paper's variants of Deep Feature Flow, as settings of one model and one recipe."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dff.models.names import ClassicalFlowName, FeatureNetworkName, FlowNetworkName, Refreshed

TABLES = ("2", "4", "5", "fig3", "flow")
"""Tables and figures of the paper that are reproduced, by the name of a flag."""
Settings = dict[str, Any]
"""All settings of a run, nested as in a config file (`dff fit --print_config`)."""


@dataclass(frozen=True)
class Variant:
    """One way to train and to propagate.

    Args:
        name: In files and flags.
        title: In tables.
        network_from: The variant that trained its features and heads; a variant that is trained
            starts from them. None: from what the config says.
        flow: "pretrained", "random", or a classical flow by name.
        trained: Whether anything is trained; if not, features are those of `network_from`.
        model: Settings of the model over those of the config.
        data: Settings of the data over those of the config, in training.
        frozen: Parts of the model that keep what they start with.
        refreshed: For a propagation without flow, the stages that `Clockwork` refreshes.
        repeated: Whether it is repeated with several seeds.
        runs_as: The variant that has the same networks, and so the same speed; None is itself.
        paper: The paper's accuracy (%) and frames per second: `miou` on Cityscapes at l = 5, `map`
            on ImageNet VID at l = 10.
    """

    name: str
    title: str
    network_from: "Variant | None" = None
    flow: Literal["pretrained", "random"] | ClassicalFlowName = "pretrained"
    trained: bool = True
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    frozen: Sequence[str] = ()
    refreshed: Refreshed | None = None
    repeated: bool = False
    runs_as: str | None = None
    paper: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def classical(self) -> ClassicalFlowName | None:
        """Its classical flow by name; None where it has a flow network."""
        return None if self.flow == "pretrained" or self.flow == "random" else self.flow

    @property
    def learned_flow(self) -> bool:
        """Whether it has a flow network."""
        return self.classical is None


def _paper(miou: float, fps: float, map_: float, map_fps: float) -> dict[str, tuple[float, float]]:
    return {"miou": (miou, fps), "map": (map_, map_fps)}


FRAME = Variant(
    "frame",
    "Frame",
    flow="zero",  # gap 0 alone: there is nothing to propagate, so no flow is computed
    data={"gaps": [0, 0]},
    repeated=True,
    paper=_paper(71.1, 1.52, 73.9, 4.05),
)
START = replace(FRAME, name="start", title="common start")
"""The per-frame network that all variants start from; in the paper, from ImageNet."""
DFF = Variant("dff", "DFF", repeated=True, paper=_paper(69.2, 5.60, 73.1, 20.25))


def _of_frame(name: str, title: str, **changes: Any) -> Variant:
    """A variant without training, on the per-frame network."""
    changes = {"flow": "zero", **changes}
    return Variant(name, title, network_from=FRAME, trained=False, **changes)


TABLE_4 = (
    FRAME,
    _of_frame("sff_slow", "SFF-slow", flow="sift_flow_slow", paper=_paper(67.8, 0.08, 70.7, 0.26)),
    _of_frame("sff_fast", "SFF-fast", flow="sift_flow_fast", paper=_paper(67.3, 0.95, 69.7, 3.04)),
    _of_frame("sff_dis", "SFF, DIS flow", flow="dis_medium", repeated=True),
    DFF,
    Variant(
        "fix_n",
        "DFF fix N",
        network_from=FRAME,
        frozen=("feature_network", "heads", "tail"),
        repeated=True,
        runs_as="dff",
        paper=_paper(68.8, 5.60, 72.3, 20.25),
    ),
    Variant(
        "fix_f",
        "DFF fix F",
        frozen=("flow_network", "scale_layers"),
        repeated=True,
        runs_as="dff",
        paper=_paper(67.0, 5.60, 68.8, 20.25),
    ),
    _of_frame(
        "separate",
        "DFF separate",
        flow="pretrained",
        repeated=True,
        runs_as="dff",
        paper=_paper(66.9, 5.60, 67.4, 20.25),
    ),
    Variant("no_scale", "DFF without S", frozen=("scale_layers",), runs_as="dff"),
    _of_frame("copy", "copy", refreshed=0, repeated=True),
    _of_frame("clockwork", "clockwork, layer4 held", refreshed=3),
    _of_frame("clockwork_2", "clockwork, layer3 and 4 held", refreshed=2),
)


def from_same_start(variant: Variant) -> Variant:
    """A variant whose training, or that of its per-frame network, begins from `START`."""
    if variant.trained:
        return replace(variant, network_from=START)
    assert variant.network_from is not None, "what is not trained takes another variant's network"
    return replace(variant, network_from=from_same_start(variant.network_from))


_SPLITS = {
    21: _paper(69.1, 2.87, 73.2, 7.23),
    12: _paper(69.1, 3.14, 73.3, 8.04),
    5: _paper(69.2, 3.89, 73.2, 9.99),
    1: _paper(69.2, 5.60, 73.1, 20.25),
    0: _paper(69.5, 5.61, 72.7, 20.40),
}
TABLE_5 = tuple(
    DFF
    if layers == 1
    else Variant(f"split_{layers}", f"{layers} layers", model={"task_layers": layers}, paper=paper)
    for layers, paper in _SPLITS.items()
)
"""The 1 layer of the paper's choice is `dff` itself."""

TABLE_2: dict[tuple[FeatureNetworkName, FlowNetworkName], float] = {
    ("resnet50", "flownet"): 9.20,
    ("resnet50", "flownet_half"): 33.56,
    ("resnet50", "flownet_inception"): 68.97,
    ("resnet101", "flownet"): 12.71,
    ("resnet101", "flownet_half"): 46.30,
    ("resnet101", "flownet_inception"): 95.24,
}
"""O(N_feat) / O(F) of the paper."""

TITLES = {
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "flownet": "FlowNet",
    "flownet_half": "FlowNet Half",
    "flownet_inception": "FlowNet Inception",
    "light": "light flow network",
    "raft_small": "RAFT small",
    "raft_large": "RAFT",
}


def network_pair(
    base: Settings, features: str, flow: str, trained_flow: Literal["pretrained", "random"]
) -> Variant:
    """DFF with other networks than the config's; `dff` itself where they are the config's.

    Raises:
        ValueError: The config starts from weights in a file, which is of one feature network.
    """
    own = base["model"]["init_args"]
    same = own["feature_network"] == features
    is_config = same and own["flow_network"] == flow
    title = f"{TITLES.get(features, features)}, {TITLES[flow]}"
    if is_config and trained_flow == "pretrained":
        return replace(DFF, title=title)
    model: dict[str, Any] = {"feature_network": features, "flow_network": flow}
    weights = own["weights"]
    if weights and not same:
        if not weights.startswith("torchvision:"):
            raise ValueError(
                f"--pairs with {features}, and the config starts from {weights}, which is of "
                f"{own['feature_network']}: set --model.weights torchvision:{features} and that "
                "feature network in a run of its own"
            )
        model["weights"] = f"torchvision:{features}"
    name = "_".join(([] if same else [features]) + [flow, trained_flow])
    if trained_flow == "random":
        title += ", not pre-trained"
    runs_as = "dff" if is_config else name.replace("_random", "_pretrained")
    return Variant(name, title, flow=trained_flow, model=model, runs_as=runs_as)


def training_settings(variant: Variant, base: Settings, seed: int) -> Settings:
    """The settings of a variant's training: those of the config, and what the variant changes.

    Files that it starts from are no part of them.

    Args:
        variant: One that is trained.
        base: Of `LitDFF` and `PairData`.
        seed: Added to the seeds of the networks and of the drawing of pairs.
    """
    settings = copy.deepcopy(base)
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    model |= variant.model
    if not variant.learned_flow:
        model["flow_network"] = variant.flow
    if variant.flow != "pretrained":
        model["flow_weights"] = None
    factors = dict(model["lr_factors"] or {})
    for part in variant.frozen:
        factors = {name: f for name, f in factors.items() if not f"{name}.".startswith(f"{part}.")}
        factors[part] = 0.0
    model["lr_factors"] = factors or None
    data |= variant.data
    data["seed"] += seed
    settings["seed_everything"] = int(settings["seed_everything"]) + seed
    settings["video_predictor"]["on_fit_end"] = False  # all are evaluated alike, afterwards
    return settings
