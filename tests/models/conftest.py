"""Networks with the weights that the reference vectors were made with."""

import importlib.util
import json

import pytest
from small import SHARED

from dff.models.backbones.resnet import ResNet
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.flownet import FlowNet
from dff.models.weights.load import load_weights
from dff.models.weights.mxnet import write_params

FOLDER = SHARED / "reference"
HEADS = ("rpn_", "rfcn_")


@pytest.fixture(scope="session")
def official_arrays():
    """Official arrays by the rule: official_arrays(("rpn_", ...)) -> name with kind -> array."""
    spec = importlib.util.spec_from_file_location("reference_weights", FOLDER / "weights.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    shapes = json.loads((FOLDER / "params.json").read_text())

    def make(prefixes=("",)):
        return {
            f"{kind}:{name}": rule.make_param(name, shape)
            for kind in ("arg", "aux")
            for name, shape in shapes[kind].items()
            if name.startswith(tuple(prefixes))
        }

    return make


@pytest.fixture(scope="session")
def networks(official_arrays, tmp_path_factory):
    """ResNet-101, FlowNet and both in a model, with the rule's weights from a .params file."""
    path = tmp_path_factory.mktemp("official") / "rfcn_dff_flownet_vid-0000.params"
    arrays = official_arrays()
    write_params(path, arrays)
    resnet, flownet = ResNet(101).eval(), FlowNet().eval()
    model = DeepFeatureFlow(resnet, flownet, {}).eval()
    reports = [load_weights(part, path) for part in (resnet, flownet, model)]
    path.unlink()
    # Every array has a place in exactly one network, but for those of the detection head.
    taken = sum(len(report.used) for report in reports[:2])
    scale = set(reports[2].used) - {f"feature_network.{n}" for n in reports[0].used}
    scale -= {f"flow_network.{n}" for n in reports[1].used}
    assert scale == {"scale_layers.0.weight", "scale_layers.0.bias"}
    heads = [name for name in arrays if name.split(":")[1].startswith(HEADS)]
    assert taken + len(scale) + len(heads) == len(arrays)
    assert all(report.missing == () for report in reports)
    return resnet, flownet, model
