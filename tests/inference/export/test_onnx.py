"""ONNX: the files, what they say, and the engine on ONNX Runtime."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exports import CLASSES, PALETTE, small
from torch import nn

from dff.inference.export.comparison.check import Difference
from dff.inference.export.comparison.frames import moving_frames
from dff.inference.export.description import KEY
from dff.inference.export.export import Wish, export
from dff.inference.export.formats import open_graphs
from dff.inference.export.graphs import Graph
from dff.inference.export.loading import load_exported
from dff.inference.export.networks import ExportedPair, ExportedSteps, exported_networks
from dff.inference.export.onnx_files import trimmed, write
from dff.inference.recognizer import recognize_frames
from dff.models.schedule import FixedSchedule

onnx = pytest.importorskip("onnx", reason="the extra dff[onnx] is not installed")
pytest.importorskip("onnxscript", reason="the extra dff[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="the extra dff[onnx] is not installed")

SIZE = (64, 96)


class Looking:
    """Key frames where it is told, though it looks at all that a schedule may look at."""

    wants = frozenset({"frame", "flow", "difference", "confidence"})

    def __init__(self):
        self.shown = []

    def is_key(self, evidence):
        if evidence.flow is not None:
            seen = (evidence.flow.mean(), evidence.difference, evidence.confidence)
            self.shown += [tuple(map(float, seen))]
        return evidence.index in (0, 2, 5)


def exported(folder, **settings):
    """A model, and the folder it was exported to, with steps and for any size."""
    model, tasks, rest = small(folder, **settings)
    export(model, tasks, rest, folder / "out", Wish("onnx", SIZE, dynamic=True, steps=True), str)
    return model, folder / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def made_without_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    model, tasks, rest = small(folder)
    export(model, tasks, rest, folder / "out", Wish("onnx", SIZE, warp="gather"), str)
    return model, folder / "out"


def operations(file):
    return {node.op_type for node in onnx.load(file).graph.node}


def test_each_file_says_all_that_a_program_must_know(made):
    _, folder = made
    names = {"key", "current", "encode", "flow", "propagate", "head"}
    assert {file.stem for file in folder.glob("*.onnx")} == names
    for name in names:
        graph = onnx.load(folder / f"{name}.onnx")
        assert [(o.domain, o.version) for o in graph.opset_import] == [("", 18)]
        (text,) = (p.value for p in graph.metadata_props if p.key == KEY)
        said = json.loads(text)
        assert said["graph"] == name and said["names"]["classes"] == CLASSES
        assert said["names"]["palette"] == PALETTE and said["dynamic"] and said["strides"] == [16]
        assert len(said["normalisation"]["mean"]) == 3 and said["flow_from"] == "key"
        inputs, outputs = said["graphs"][name]
        assert {i.name for i in graph.graph.input} <= set(inputs)
        assert [o.name for o in graph.graph.output] == outputs
    assert json.loads((folder / "export.json").read_text())["graphs"].keys() == names


@torch.inference_mode()
def test_the_engine_gives_the_same_on_onnx_runtime(made):
    model, folder = made
    networks, tasks = exported_networks(open_graphs(folder, "onnx"))
    assert isinstance(networks, ExportedSteps) and tasks["segmentation"].classes == CLASSES
    video = torch.cat(moving_frames(7, (80, 75)))
    for make in (lambda: FixedSchedule(3), Looking):
        asked, asked_of_own = make(), make()
        own = recognize_frames(model, video, asked_of_own, size=(100, 90))
        found = recognize_frames(networks, video, asked, size=(100, 90))
        assert found.key_frames == own.key_frames and 1 < sum(own.key_frames) < 7
        labels, wanted = found.predictions["segmentation"], own.predictions["segmentation"]
        assert (labels == wanted).float().mean() > 0.999 and len(wanted.unique()) > 1
    assert len(asked.shown) > 4
    assert np.allclose(asked.shown, asked_of_own.shown, atol=1e-4)


@torch.inference_mode()
def test_flow_by_way_of_the_frame_before_is_found_step_by_step(tmp_path):
    model, folder = exported(tmp_path, flow_from="warm")
    networks, _ = exported_networks(open_graphs(folder, "onnx"))
    video = torch.cat(moving_frames(5, SIZE))
    own, found = (recognize_frames(m, video, FixedSchedule(5)) for m in (model, networks))
    assert networks.flow_from == "warm"
    field, wanted = found.last.before.field, own.last.before.field
    assert torch.allclose(field, wanted, atol=1e-3 * float(wanted.abs().max()))
    for name in ("encode", "flow", "propagate", "head"):
        (folder / f"{name}.onnx").unlink()
    graphs = open_graphs(folder, "onnx")
    graphs.description.graphs.pop("flow")
    with pytest.raises(ValueError, match=r"no steps, and the flow of its model is warm.*--steps"):
        exported_networks(graphs)


@torch.inference_mode()
def test_two_graphs_are_enough_for_a_fixed_schedule(made_without_steps):
    model, folder = made_without_steps
    graphs = open_graphs(folder, "onnx")
    networks, _ = exported_networks(graphs)
    assert isinstance(networks, ExportedPair)
    video = torch.cat(moving_frames(7, SIZE, seed=2))
    own, found = (recognize_frames(m, video, FixedSchedule(3)) for m in (model, networks))
    same = found.predictions["segmentation"] == own.predictions["segmentation"]
    assert same.float().mean() > 0.999
    sure = networks.confidence(networks.encode(video[:1]))
    assert torch.allclose(sure, model.confidence(model.encode(video[:1])), atol=1e-5)
    loaded = load_exported(folder, "onnx")
    pictures = (video.permute(0, 2, 3, 1) * 255).byte().numpy()
    with pytest.raises(ValueError, match=r"the schedule looks at the difference.*--steps"):
        next(loaded.stream(pictures, schedule=Looking()))
    assert len(list(loaded.stream(pictures, key_duration=3))) == 7
    with pytest.raises(ValueError, match="80 x 96 pixels for an export in onnx that takes 64 x"):
        networks.encode(torch.rand(1, 3, 80, 96))


class CoarseAndSorted(nn.Module):
    """What the exporter of torch has wrong, or not at all."""

    def forward(self, *inputs):
        (x,) = inputs
        height, width = x.shape[-2:]
        rows, places = x.flatten().sort(stable=True, descending=True)
        return F.interpolate(x, (-(-height // 16), -(-width // 16))), rows, places


def test_sizes_are_rounded_up_and_equal_values_keep_their_order(made, tmp_path):
    said = open_graphs(made[1], "onnx").description
    module = CoarseAndSorted()
    outputs = ("coarse", "rows", "places")
    graph = Graph("key", module, {"frame": torch.rand(1, 1, 64, 96)}, outputs)
    said.graphs["key"] = (["frame"], list(outputs))
    write(graph, tmp_path, said)
    x = (10 * torch.rand(1, 1, 33, 145)).round()
    found = open_graphs(tmp_path, "onnx").run("key", [x])
    assert found[0].shape == (1, 1, 3, 10)
    assert all(torch.equal(a, b) for a, b in zip(found, module(x), strict=True))


def test_gather_takes_the_place_of_grid_sample(made, made_without_steps):
    with_it, without = (
        operations(folder / "current.onnx") for _, folder in (made, made_without_steps)
    )
    assert "GridSample" in with_it and "GridSample" not in without
    assert "Gather" in without and "Loop" not in without


def test_what_nobody_asked_for_is_not_computed(made):
    _, folder = made
    whole = operations(folder / "current.onnx")
    part = onnx.load_from_string(trimmed(folder / "current.onnx", ["scores"]))
    left = {node.op_type for node in part.graph.node}
    assert "ArgMax" in whole and not {"ArgMax", "Resize"} & left and "Conv" in left
    assert [output.name for output in part.graph.output] == ["scores"]


def test_an_export_that_differs_leaves_no_file(tmp_path, monkeypatch):
    model, tasks, settings = small(tmp_path)
    before = Difference("engine: segmentation", "random frames", SIZE, equal=0.9)
    monkeypatch.setattr("dff.inference.export.export.compare_results", lambda *everything: [before])
    out = tmp_path / "out"
    with pytest.raises(
        FloatingPointError, match=r"equal: 90.000 % on random frames. No file was written; try"
    ):
        export(model, tasks, settings, out, Wish("onnx", SIZE), str)
    assert not out.exists() and {f.name for f in tmp_path.iterdir()} == {"model.ckpt"}
    with pytest.raises(FloatingPointError, match=r"1e-12 of the largest value: key: features"):
        export(model, tasks, settings, out, Wish("onnx", SIZE, tolerance=1e-12), str)
    assert not out.exists()
    with pytest.raises(ValueError, match="--tolerance -1: wanted more than 0"):
        export(model, tasks, settings, out, Wish("onnx", SIZE, tolerance=-1), str)
    out.write_text("a file")
    with pytest.raises(NotADirectoryError, match="out is a file, and --output wants a folder"):
        export(model, tasks, settings, out, Wish("onnx", SIZE), str)


def test_what_is_no_export_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no key.onnx in .*dff export --format onnx"):
        open_graphs(tmp_path, "onnx")
    (tmp_path / "key.onnx").write_text("no graph")
    with pytest.raises(ValueError, match=r"ONNX Runtime .* does not take .*key.onnx"):
        open_graphs(tmp_path, "onnx")


def test_a_frame_too_small_for_the_flow_is_refused_before_anything_begins(tmp_path):
    model, tasks, settings = small(tmp_path)
    with pytest.raises(ValueError, match="--size 32 96: wanted at least 64 pixels on each side"):
        export(model, tasks, settings, tmp_path / "out", Wish("onnx", (32, 96)), str)
    with pytest.raises(ValueError, match="has no convolution in bfloat16 before opset 22"):
        export(model, tasks, settings, tmp_path / "out", Wish(precision="bf16"), str)
