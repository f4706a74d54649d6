"""Which variants the tables of a reproduction have, and the flow networks that are there for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from dff.inference.tasks.choice import tasks_of
from dff.lit.reproduction.tables import PAPER
from dff.lit.reproduction.variants import (
    TABLE_2,
    TABLE_4,
    TABLE_5,
    Settings,
    Variant,
    from_same_start,
    network_pair,
)
from dff.models.build import FlowNetworkName
from dff.models.contracts import Task
from dff.models.weights.load import SHIPPED

FLOWS = get_args(FlowNetworkName)


def choose(
    tables: Sequence[str],
    base: Settings,
    pairs: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    same_start: bool = True,
) -> dict[str, list[Variant]]:
    """Table -> its variants.

    Args:
        tables: Of `TABLES`; Table 2 counts FLOPs and has none.
        base: Settings of `LitDFF`.
        pairs: FEATURE+FLOW networks of Figure 3; the config's features with each flow if None.
        skip: Variants to leave out, by name.
        same_start: Whether all variants with the config's feature network begin from one trained
            per-frame network; if not, each begins from what the config says.

    Raises:
        ValueError: The config cannot be varied in this way, or a pair is none.
    """
    own = base["model"]["init_args"]
    if own["flow_network"] not in FLOWS:
        raise ValueError(
            f"flow_network {own['flow_network']} of the config learns nothing: set "
            f"--model.flow_network to one of {', '.join(FLOWS)}"
        )
    if "5" in tables and own["task_layers"] != 1:
        raise ValueError(
            f"task_layers {own['task_layers']} of the config: Table 5 varies it, from 1. Set "
            "--model.task_layers 1, or leave that table out with --table"
        )
    # the paper's three, and the config's
    compared = dict.fromkeys([*(flow for _, flow in TABLE_2), own["flow_network"]])
    default = [f"{own['feature_network']}+{flow}" for flow in compared]
    split = [pair.split("+") for pair in pairs or default]
    for pair in split:
        if len(pair) != 2 or pair[1] not in FLOWS:
            raise ValueError(f"--pairs {'+'.join(pair)}: wanted such as resnet50+flownet_half")
    flows = [
        network_pair(base, own["feature_network"], flow, how)
        for flow in compared
        for how in ("pretrained", "random")
    ]
    sections = {
        "4": list(TABLE_4),
        # scores of boxes cannot be propagated
        "5": [v for v in TABLE_5 if v.name != "split_0" or _can_be_cut(base)],
        "fig3": [network_pair(base, features, flow, "pretrained") for features, flow in split],
        "flow": [*flows, *[v for v in TABLE_4 if v.name.startswith("sff_")]],
    }
    return {
        table: [
            from_same_start(v) if same_start and _has_features_of(base, v) else v
            for v in chosen
            if v.name not in skip
        ]
        for table, chosen in sections.items()
        if table in tables
    }


def _has_features_of(base: Settings, variant: Variant) -> bool:
    own: str = base["model"]["init_args"]["feature_network"]
    return bool(variant.model.get("feature_network", own) == own)


def _tasks(base: Settings) -> list[Task]:
    return list(tasks_of(base["model"]["init_args"]).values())


def _can_be_cut(base: Settings) -> bool:
    tasks = _tasks(base)
    return len(tasks) == 1 and tasks[0].cut(1) is not None


def paper_duration(base: Settings) -> int:
    """The key duration at which the paper compares variants, the longest of a config's tasks."""
    return max(PAPER[task.measure.name][1] for task in _tasks(base))


def by_name(sections: dict[str, list[Variant]]) -> dict[str, Variant]:
    """The variants of all tables, each once: DFF with Table 4's title, not with Figure 3's."""
    found: dict[str, Variant] = {}
    for variant in (v for chosen in sections.values() for v in chosen):
        found.setdefault(variant.name, variant)
    return found


def weights_by_network(given: Sequence[str], base: Settings) -> dict[str, Path]:
    """Name of a flow network -> its file.

    Args:
        given: FILE, of the config's flow network, or NAME=FILE; a file may be `dff:light`.
        base: Settings of `LitDFF`, which may name a file of their own.

    Raises:
        ValueError: There is no such flow network.
    """
    own = base["model"]["init_args"]
    words = [f"{own['flow_network']}={own['flow_weights']}"] if own["flow_weights"] else []
    found = {}
    for word in [*words, *given]:
        name, equals, file = word.partition("=")
        if not equals or "/" in name or Path(word).is_file():  # checkpoints are named step=N.ckpt
            name, file = own["flow_network"], word
        if name not in FLOWS:
            raise ValueError(f"--flow_weights {word}: {name} is none of {', '.join(FLOWS)}")
        found[name] = SHIPPED.get(file, Path(file))
    return found
