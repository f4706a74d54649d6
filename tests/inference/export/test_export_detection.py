"""A detector and a cost-volume flow in graphs; suppression outside of them or inside."""

import pytest
import torch
from exports import small
from networks import SIZE

from dff.inference.export.comparison.check import compare_graphs, compare_results
from dff.inference.export.comparison.frames import moving_frames
from dff.inference.export.detection import REGIONS, DetectionOutputs
from dff.inference.export.export import Wish, export
from dff.inference.export.formats import open_graphs
from dff.inference.export.graphs import graphs_of
from dff.inference.export.heads import outputs_of
from dff.inference.export.layers import exportable
from dff.inference.export.networks import exported_networks
from dff.inference.export.tracing import traced
from dff.inference.recognizer import recognize_frames
from dff.inference.tasks.choice import tasks_of
from dff.models.build import networks as networks_of
from dff.models.schedule import FixedSchedule

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
    return made_of(SETTINGS)


def made_of(settings):
    torch.manual_seed(2)
    made = networks_of(settings, list(tasks_of(settings).values())).eval().requires_grad_(False)
    for layer in made.heads["detection"].modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.02)
    return made


def heads_of(model, *how):
    return {name: outputs_of(name, head, *how) for name, head in model.heads.items()}


class Traced:
    """Runs graphs as torch exports them, for frames of any size."""

    def __init__(self, graphs):
        self.graphs, self.programs = {graph.name: graph for graph in graphs}, {}

    @torch.no_grad()
    def run(self, name, inputs, wanted=None):
        if name not in self.programs:
            program = traced(self.graphs[name], dynamic=True)
            self.programs[name] = program.module(check_guards=False)
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


@torch.no_grad()
@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_suppression_inside_gives_what_the_head_predicts_at_another_size(model, format):
    copy = exportable(model, torch.float32, "gather")
    heads = heads_of(copy, "inside", format)
    graphs = graphs_of(copy, heads, moving_frames(3, (192, 192)), steps=False)
    assert [graph.name for graph in graphs] == ["key", "current"]
    assert graphs[1].outputs == ("scores", "labels", "boxes", "box_scores", "box_labels")
    frame = moving_frames(1, (131, 237), seed=5)[0]
    boxes, scores, labels = Traced(graphs).run("key", [frame], graphs[1].outputs[2:])
    own = model.heads["detection"].predict(model.encode(frame), (262, 474), (131, 237))
    assert (own[..., 5] >= 0).sum() > 20 and boxes.shape == (1, 30, 4)
    found = heads["detection"].finish((boxes, scores, labels), (262, 474), (131, 237), None)
    assert torch.allclose(found, own, atol=1e-3)
    assert torch.equal(labels, own[..., 5].long()) and labels.dtype == torch.int64


@torch.no_grad()
def test_fewer_regions_than_wanted_are_repeated(model):
    head = model.heads["detection"]
    outputs = heads_of(model, "inside")["detection"]
    features = model.encode(moving_frames(1, (64, 64))[0])
    before, head.rpn.nms_threshold = head.rpn.nms_threshold, 0.05
    own = head.predict(features, (64, 64))
    maps = outputs.maps(features, (64, 64))
    head.rpn.nms_threshold = before
    assert 0 < (own[..., 5] >= 0).sum()
    assert torch.allclose(outputs.finish(maps, (64, 64), (64, 64), None), own, atol=1e-3)


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


def test_detections_come_out_of_onnx_runtime_itself(tmp_path):
    """Suppression in the graph, frames of any size; pixels count there as in the frames."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra dff[onnx] is not installed")
    settings = {**SETTINGS, "flow_network": "flownet_half", "heads": {"detection": 1.0}}
    model = made_of(settings)
    tasks, told = tasks_of(settings), []
    wish = Wish("onnx", SIZE, dynamic=True, suppression="inside")
    export(model, tasks, settings, tmp_path / "out", wish, told.append)
    for line in told:
        assert line.startswith("exporting") or "random frames" in line or "drawn streets" in line
    compared = [line for line in told if ": boxes " in line]
    assert len(compared) == 2 * 2 * 2 and all("equal: 100.000 %" in line for line in compared)
    graphs = open_graphs(tmp_path / "out", "onnx")
    assert graphs.description.suppression == "inside"
    assert {f.name for f in tmp_path.glob("out/*.onnx")} == {"key.onnx", "current.onnx"}
    video = torch.cat(moving_frames(5, (90, 125), seed=7))
    own, other = (
        recognize_frames(networks, video, FixedSchedule(3), size=size).predictions["detection"]
        for networks, size in ((model, None), (exported_networks(graphs)[0], (180, 500)))
    )
    assert (own[..., 5] >= 0).sum() > 20
    assert torch.allclose(other[..., :4], own[..., :4] * torch.tensor([4, 2, 4, 2]), atol=1e-3)
    assert torch.allclose(other[..., 4:], own[..., 4:], atol=1e-4)


def test_suppression_of_what_has_no_boxes_is_refused(model, tmp_path):
    alone, tasks, settings = small(tmp_path)
    with pytest.raises(
        ValueError, match=r"--suppression inside: .* \(segmentation\) give no boxes"
    ):
        export(alone, tasks, settings, tmp_path / "out", Wish(suppression="inside"), str)
