"""A detector and a cost-volume flow in graphs; suppression outside of them."""

import pytest
import torch
from networks import SIZE

from dff.inference.export.check import compare_graphs, compare_results, moving_frames
from dff.inference.export.detection import REGIONS, DetectionOutputs
from dff.inference.export.export import Wish, export
from dff.inference.export.formats import open_graphs
from dff.inference.export.graphs import graphs_of
from dff.inference.export.heads import outputs_of
from dff.inference.export.layers import exportable
from dff.inference.export.networks import exported_networks
from dff.inference.export.tracing import traced
from dff.inference.tasks.choice import tasks_of
from dff.models.build import networks as networks_of

SETTINGS = {
    "feature_network": "resnet18",
    "feature_channels": 16,
    "flow_network": "light",
    "heads": {"segmentation": 1.0, "detection": 1.0},
    "num_classes": 5,
    "num_box_classes": 3,
    "detection": {"anchor_scales": [1, 2, 4], "proposals": 40, "max_detections": 30},
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(2)
    made = networks_of(SETTINGS, list(tasks_of(SETTINGS).values())).eval().requires_grad_(False)
    for layer in made.heads["detection"].modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.02)
    return made


def heads_of(model):
    return {name: outputs_of(name, head) for name, head in model.heads.items()}


class Traced:
    """Runs graphs as torch exports them, for frames of any size."""

    def __init__(self, graphs):
        self.graphs = {graph.name: graph for graph in graphs}
        self.programs = {
            graph.name: traced(graph, dynamic=True).module(check_guards=False) for graph in graphs
        }

    @torch.no_grad()
    def run(self, name, inputs, wanted=None):
        outputs = self.graphs[name].outputs
        found = dict(zip(outputs, self.programs[name](*inputs), strict=True))
        return [found[one] for one in wanted or outputs]


def test_maps_regions_and_costs_are_the_models_own_at_another_size(model):
    copy = exportable(model, torch.float32, "gather")
    graphs = graphs_of(copy, heads_of(copy), moving_frames(3, (192, 192)), steps=False)
    assert [graph.name for graph in graphs] == ["key", "current", REGIONS]
    runtime = Traced(graphs)
    frames = moving_frames(3, (131, 237), seed=4)
    found = compare_graphs(model, heads_of(model), runtime.graphs, runtime, frames, steps=False)
    told = {d.what for d in found}
    assert told >= {"current: region_scores", "regions: probabilities", "regions: boxes"}
    assert not [str(d) for d in found if d.fails(1e-4, 0.999)]


@torch.no_grad()
def test_suppression_outside_gives_what_the_head_predicts(model):
    head = model.heads["detection"]
    copy = exportable(model, torch.float32, "gather")
    graphs = graphs_of(copy, heads_of(copy), moving_frames(3, (192, 192)), steps=False)
    features = model.encode(torch.cat(moving_frames(2, (128, 160))))
    own = head.predict(features, (256, 240), (128, 160))
    maps = head(features)
    found = DetectionOutputs(head).finish(maps, (256, 240), (128, 160), Traced(graphs).run)
    assert own.shape == found.shape and (own[..., 5] >= 0).sum() > 20
    assert torch.allclose(found, own, atol=1e-3)


def test_a_detection_with_no_twin_does_not_agree(model):
    outputs = DetectionOutputs(model.heads["detection"])
    own = torch.tensor([[[0.0, 0, 30, 30, 0.9, 1], [40, 40, 90, 60, 0.6, 0], [0, 0, 0, 0, 0, -1]]])
    assert outputs.agreement(own, own) == 1
    for column, value in ((5, 2.0), (4, 0.4), (2, 33.0)):
        other = own.clone()
        other[0, 0, column] = value
        assert outputs.agreement(other, own) == 0.5
    assert outputs.agreement(own[:, 2:], own[:, 2:]) == 1  # nothing is found in both


def test_detections_are_the_same_on_onnx_runtime(model, tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra dff[onnx] is not installed")
    tasks = tasks_of(SETTINGS)
    tasks["detection"].classes = ["car", "bus", "dog"]
    export(model, tasks, SETTINGS, tmp_path / "out", Wish("onnx", SIZE, warp="gather"), str)
    networks, found = exported_networks(open_graphs(tmp_path / "out", "onnx"))
    assert found["detection"].classes == ["car", "bus", "dog"]
    frames = moving_frames(5, SIZE, seed=7)
    differences = compare_results(model, heads_of(model), networks, frames)
    assert [d.equal for d in differences] == pytest.approx([1, 1], abs=1e-3)
