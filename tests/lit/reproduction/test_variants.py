"""Variants of the paper's tables as settings."""

import copy

import pytest
from small import SETTINGS as BASE

from dff.lit.module import LitDFF
from dff.lit.reproduction.choice import choose
from dff.lit.reproduction.variants import (
    DFF,
    FRAME,
    TABLE_2,
    TABLE_4,
    TABLE_5,
    network_pair,
    training_settings,
)

VARIANTS = {variant.name: variant for variant in (*TABLE_4, *TABLE_5)}


def settings(name, seed=0):
    return training_settings(VARIANTS[name], BASE, seed)


def factors(name):
    return settings(name)["model"]["init_args"]["lr_factors"]


def test_the_paper_is_quoted_right():
    """Tables 2, 4 and 5 of the paper."""
    cityscapes = {n: v.paper["miou"] for n, v in VARIANTS.items() if v.paper}
    assert cityscapes["frame"] == (71.1, 1.52) and cityscapes["sff_slow"] == (67.8, 0.08)
    assert [v.paper["miou"][0] for v in TABLE_5] == [69.1, 69.1, 69.2, 69.2, 69.5]
    assert [v.paper["map"][1] for v in TABLE_5] == [7.23, 8.04, 9.99, 20.25, 20.40]
    assert list(TABLE_2.values()) == [9.20, 33.56, 68.97, 12.71, 46.30, 95.24]
    accuracy = {n: paper[0] for n, paper in cityscapes.items()}
    assert accuracy["frame"] > accuracy["dff"] > accuracy["fix_n"] > accuracy["fix_f"]
    assert accuracy["fix_f"] > accuracy["separate"]


def test_names_are_unique_and_lead_to_one_variant():
    assert len({v.name for v in TABLE_4}) == len(TABLE_4)
    assert [v for v in TABLE_5 if v in TABLE_4] == [DFF]
    assert all(v.network_from in (None, FRAME) for v in TABLE_4)
    assert {v.runs_as for v in TABLE_4} <= {None, "dff"}


def test_frame_sees_single_frames_and_computes_no_flow():
    made = settings("frame")
    assert made["data"]["init_args"]["gaps"] == [0, 0]
    assert made["model"]["init_args"]["flow_network"] == "zero"
    assert made["model"]["init_args"]["flow_weights"] is None


def test_what_a_variant_fixes_is_fixed_whole():
    """A factor for a part of the fixed part would else go on training it."""
    assert factors("dff") == BASE["model"]["init_args"]["lr_factors"]
    assert factors("fix_f") == {"flow_network": 0.0, "scale_layers": 0.0}
    assert factors("no_scale") == {"flow_network": 0.2, "scale_layers": 0.0}
    assert factors("fix_n") == {
        **BASE["model"]["init_args"]["lr_factors"],
        **{"feature_network": 0.0, "heads": 0.0, "tail": 0.0},
    }


@pytest.mark.parametrize("name", [v.name for v in (*TABLE_4, *TABLE_5) if v.trained])
def test_a_variant_trains_what_it_says_and_nothing_else(name):
    own = copy.deepcopy(settings(name)["model"]["init_args"])
    module = LitDFF(**own | {"weights": None, "flow_weights": None, "batch_norm": "trained"})
    trained = {n.split(".")[0] for n, p in module.model.named_parameters() if p.requires_grad}
    wanted = {"feature_network", "flow_network", "scale_layers", "heads", "tail"}
    wanted &= {n.split(".")[0] for n, _ in module.model.named_parameters()}
    wanted -= set(VARIANTS[name].frozen)
    assert trained == wanted
    scale = [p for n, p in module.model.named_parameters() if n.startswith("scale_layers")]
    fixed = name in ("no_scale", "fix_f")
    assert all(p.requires_grad != fixed for p in scale)


def test_seeds_are_counted_from_the_config_and_the_base_is_left_alone():
    before = copy.deepcopy(BASE)
    made = settings("dff", seed=2)
    assert made["seed_everything"] == 7 and made["data"]["init_args"]["seed"] == 5
    assert made["video_predictor"]["on_fit_end"] is False
    assert before == BASE


def test_split_points_are_task_layers():
    layers = {v.name: v.model.get("task_layers", 1) for v in TABLE_5}
    assert layers == {"split_21": 21, "split_12": 12, "split_5": 5, "dff": 1, "split_0": 0}


def test_pairs_of_networks():
    config = network_pair(BASE, "resnet18", "flownet_half", "pretrained")
    assert (config.name, config.title) == ("dff", "ResNet-18, FlowNet Half")
    other = network_pair(BASE, "resnet18", "flownet", "random")
    assert other.name == "flownet_random" and other.runs_as == "flownet_pretrained"
    assert training_settings(other, BASE, 0)["model"]["init_args"]["flow_weights"] is None
    own = network_pair(BASE, "resnet18", "flownet_half", "random")
    assert own.runs_as == "dff"
    assert network_pair(BASE, "resnet34", "flownet", "pretrained").name == (
        "resnet34_flownet_pretrained"
    )


def test_a_feature_network_of_timm_is_varied_like_those_of_the_paper():
    base = copy.deepcopy(BASE)
    base["model"]["init_args"]["feature_network"] = "timm:tf_efficientnet_lite0"
    sections = choose(["4", "fig3"], base, None, [], True)
    assert [v.title for v in sections["fig3"]][1] == "timm:tf_efficientnet_lite0, FlowNet Half"
    assert {v.name for v in TABLE_4} == {v.name for v in sections["4"]}


def test_weights_follow_the_feature_network_or_are_refused():
    base = copy.deepcopy(BASE)
    base["model"]["init_args"]["weights"] = "torchvision:resnet18"
    pair = network_pair(base, "resnet34", "flownet", "pretrained")
    assert pair.model["weights"] == "torchvision:resnet34"
    base["model"]["init_args"]["weights"] = "mine.pth"
    with pytest.raises(ValueError, match=r"resnet34, and the config starts from mine\.pth"):
        network_pair(base, "resnet34", "flownet", "pretrained")
    assert network_pair(base, "resnet18", "flownet", "pretrained").model.get("weights") is None
