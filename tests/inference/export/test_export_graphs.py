"""Graphs before any format: the model rewritten for export, its parts, what it says of itself."""

from dataclasses import replace

import pytest
import torch
from exports import small
from networks import SIZE, frames
from torch import nn

from dff.inference.export.comparison.check import Difference, compare_graphs
from dff.inference.export.comparison.frames import moving_frames
from dff.inference.export.description import Description, from_json
from dff.inference.export.export import Wish, size_to_trace, sizes_to_check
from dff.inference.export.graphs import graphs_of
from dff.inference.export.heads import outputs_of
from dff.inference.export.layers import exportable
from dff.inference.export.tracing import traced
from dff.models.build import flow_network

SAID = Description(
    format="onnx",
    precision="fp32",
    size=(64, 96),
    dynamic=True,
    warp="gather",
    suppression="outside",
    channels=(16,),
    strides=(16,),
    flow_network="flownet",
    flow_from="key",
    flow_stride=16,
    normalisation={"mean": [0.5], "std": [0.25]},
    names={"classes": ["a"]},
    settings={"num_classes": 1},
    graphs={"key": (["frame"], ["features"])},
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small(tmp_path_factory.mktemp("model"))[0].eval()


def heads_of(model):
    return {name: outputs_of(name, head) for name, head in model.heads.items()}


class Eager:
    """Runs graphs as they are."""

    def __init__(self, graphs):
        self.graphs = {graph.name: graph for graph in graphs}

    @torch.no_grad()
    def run(self, name, inputs, wanted=None):
        return list(self.graphs[name].module(*inputs))


@pytest.mark.parametrize("flow_from", ["key", "warm", "chain"])
@pytest.mark.parametrize("warp", ["grid_sample", "gather"])
def test_the_rewritten_model_gives_what_the_model_gives(model, flow_from, warp):
    model.flow_from = flow_from
    three = list(frames(3).split(1))
    graphs = graphs_of(
        copy := exportable(model, torch.float32, warp), heads_of(copy), three, steps=True
    )
    assert not any(isinstance(m, nn.BatchNorm2d) for m in copy.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    by_name = {graph.name: graph for graph in graphs}
    found = compare_graphs(model, heads_of(model), by_name, Eager(graphs), three, steps=True)
    assert {d.what for d in found} >= {"key: features", "current: scores", "propagate: carried"}
    assert not [str(d) for d in found if d.fails(1e-4, 0.999)]
    assert ("current: flow" in {d.what for d in found}) == (flow_from != "key")
    model.flow_from = "key"


def test_another_shape_at_another_size_is_told_with_the_cure(model):
    three = list(frames(3).split(1))
    graphs = graphs_of(model, heads_of(model), three, steps=False)

    class Cut(Eager):
        def run(self, name, inputs, wanted=None):
            return [found[..., :-1] for found in super().run(name, inputs)]

    by_name = {graph.name: graph for graph in graphs}
    with pytest.raises(ValueError, match=r"key: features of the export .* export once for each"):
        compare_graphs(model, heads_of(model), by_name, Cut(graphs), three, steps=False)


def test_half_precision_reaches_the_features_and_not_the_flow(model):
    copy = exportable(model, torch.bfloat16, "gather")
    graphs = {g.name: g for g in graphs_of(copy, heads_of(copy), frames(3).split(1), steps=True)}
    propagate = graphs["propagate"].inputs
    assert propagate["features"].dtype == propagate["context"].dtype == torch.bfloat16
    assert propagate["flow"].dtype == torch.float32


def test_maps_between_graphs_are_contiguous_whatever_the_network_gives(model, monkeypatch):
    """ConvNeXt's have their channels last in memory, which compiled code would take for granted."""
    encode = model.encode

    def channels_last(image):
        return encode(image).contiguous(memory_format=torch.channels_last)

    monkeypatch.setattr(model, "encode", channels_last)
    graphs = graphs_of(model, heads_of(model), frames(3).split(1), steps=True)
    for graph in graphs:
        assert all(value.is_contiguous() for value in graph.inputs.values()), graph.name
        with torch.no_grad():
            found = graph.module(*graph.inputs.values())
        assert all(value.is_contiguous() for value in found), graph.name


def test_no_size_is_fixed_by_the_example(model):
    """Traced at one size, run at others: odd ones, which are padded within, and lost flow."""
    copy = exportable(model, torch.float32, "gather")
    wish = Wish(size=SIZE, dynamic=True)
    assert size_to_trace(wish) == (192, 192)
    three = moving_frames(3, size_to_trace(wish))
    graphs = {g.name: g for g in graphs_of(copy, heads_of(copy), three, steps=True)}
    current, propagate = (
        traced(graphs[name], dynamic=True).module(check_guards=False)
        for name in ("current", "propagate")
    )
    for size in ((101, 163), (270, 330)):
        key, _, frame = moving_frames(3, size)
        with torch.no_grad():
            features = model.encode(key)
            flow = model.find_flow(key, frame)
            scores, labels = current(frame, key, features)
            wanted = model.heads["segmentation"](model.carry(features, flow))
            assert torch.allclose(scores, wanted, atol=1e-4 * float(wanted.abs().max()))
            assert labels.shape == (1, *size)
            flow.field[:] = float("nan")
            (carried,) = propagate(flow.field, flow.context, features)
            assert (carried == 0).all()


def test_a_flow_without_a_network_is_told_with_the_cure(model):
    network, layers = model.flow_network, model.scale_layers
    model.use_flow(flow_network("dis_fast"))
    with pytest.raises(ValueError, match=r"algorithm \(DISFlow\).*give --flow_network light"):
        exportable(model, torch.float32, "gather")
    model.use_flow(network)
    model.scale_layers = layers


def test_a_head_of_another_kind_is_told():
    with pytest.raises(ValueError, match=r"the head depth \(Identity\) cannot be exported"):
        outputs_of("depth", nn.Identity())


def test_a_description_comes_back_as_it_was_written():
    again = from_json(SAID.to_json("key"), "key.onnx")
    assert again == replace(SAID, graphs={"key": [["frame"], ["features"]]})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1, "graph": "key"}'])
def test_what_is_no_description_is_told(text):
    with pytest.raises(ValueError, match=r"key.onnx is no export of this project: export"):
        from_json(text, "key.onnx")
    newer = SAID.to_json().replace('"version": 1', '"version": 9')
    with pytest.raises(ValueError, match=r"key.onnx was written in form 9, wanted 1: export"):
        from_json(newer, "key.onnx")


def test_a_difference_fails_where_it_is_larger_than_allowed_or_no_number():
    size = (64, 96)
    assert Difference("key: features", "random frames", size, relative=2e-3).fails(1e-3, 0.999)
    assert not Difference("key: features", "random frames", size, relative=1e-3).fails(1e-3, 0.999)
    assert Difference("key: features", "random frames", size, relative=float("nan")).fails(
        1e-3, 0.999
    )
    assert Difference("key: labels", "random frames", size, equal=0.998).fails(1e-3, 0.999)
    assert not Difference("key: labels", "random frames", size, equal=0.9995).fails(1e-3, 0.999)
    assert "equal: 99.950 % on random frames" in str(
        Difference("key: labels", "random frames", size, equal=0.9995)
    )


def test_frames_of_any_size_are_compared_at_an_odd_size_too():
    assert sizes_to_check(Wish(size=(600, 1000))) == [(600, 1000)]
    assert sizes_to_check(Wish(size=(600, 1000), dynamic=True)) == [(600, 1000), (451, 751)]
    assert sizes_to_check(Wish(size=SIZE, dynamic=True)) == [SIZE, (65, 73)]


def test_random_frames_move_and_are_the_same_again():
    first, second, _ = moving_frames(3, (80, 100))
    assert first.shape == (1, 3, 80, 100) and 0 <= first.min() < first.max() <= 1
    assert torch.equal(first[..., 3:, 2:], second[..., :-3, :-2])
    assert torch.equal(first, moving_frames(3, (80, 100))[0])
