"""Features of several levels: each is carried by the same flow, in its own pixels."""

import pytest
import torch
import torch.nn.functional as F
from levels import CHANNELS, STRIDES, BothLevels, ConstantFlow, Pyramid
from torch import nn

from dff.inference.recognizer import stream
from dff.inference.tasks.detection import Detection
from dff.inference.tasks.segmentation import Segmentation
from dff.models.analysis.complexity import complexity
from dff.models.contracts import only_level
from dff.models.dff import DeepFeatureFlow, chosen_rows, on_levels
from dff.models.flow.classical import NoFlow
from dff.models.flow.flownet import FlowNet
from dff.models.schedule import FixedSchedule

SIZES = [(64, 96), (72, 104), (101, 163)]
"""Of frames: of whole cells, of whole fine cells alone, of neither."""


def frames(count=1, size=(72, 104), seed=1):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def made(flow=None, **settings):
    torch.manual_seed(0)
    flow = flow or FlowNet(width=0.125)
    return DeepFeatureFlow(Pyramid(), flow, {"both": BothLevels()}, **settings)


def shifted(level, columns, rows):
    """What stands there in the key frame, and zeros where that is outside of it."""
    height, width = level.shape[-2:]
    padded = F.pad(level, (width, width, height, height))
    return padded[..., height + rows : 2 * height + rows, width + columns : 2 * width + columns]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["full", "no_scale", "no_flow", "copy"])
@torch.inference_mode()
def test_zero_flow_changes_nothing(size, mode):
    model, (key, current) = made(NoFlow()).eval(), frames(2, size).split(1)
    features = model.encode(key)
    sizes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES]
    assert [tuple(level.shape[1:]) for level in features] == [
        (c, *s) for c, s in zip(CHANNELS, sizes, strict=True)
    ]
    carried = model.propagate(features, key, current, mode)
    assert isinstance(carried, tuple)
    torch.testing.assert_close(carried, features, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["grid_sample", "gather"])
@pytest.mark.parametrize("stride", [1, 2, 16, 32])
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_a_shift_by_whole_cells_moves_each_level_by_its_own_number_of_cells(size, stride, method):
    model = made(ConstantFlow(32, -16, stride), warp_method=method).eval()
    key, current = frames(2, size).split(1)
    fine, coarse = model.encode(key)
    moved = model.propagate((fine, coarse), key, current)
    torch.testing.assert_close(moved[0], shifted(fine, 4, -2), rtol=0, atol=1e-4)
    torch.testing.assert_close(moved[1], shifted(coarse, 2, -1), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_the_form_of_the_features_is_kept():
    class OneOfMany(Pyramid):
        channels, strides = CHANNELS[:1], STRIDES[:1]

        def forward(self, image):
            return super().forward(image)[:1]

    class Bare(OneOfMany):
        def forward(self, image):
            return super().forward(image)[0]

    key, current = frames(2).split(1)
    torch.manual_seed(0)
    wrapped = DeepFeatureFlow(OneOfMany(), ConstantFlow(8, 0), {})
    torch.manual_seed(0)
    bare = DeepFeatureFlow(Bare(), ConstantFlow(8, 0), {})
    (level,) = wrapped.propagate(wrapped.encode(key), key, current)
    assert torch.equal(bare.propagate(bare.encode(key), key, current), level)
    both = on_levels(torch.add, (level, level[:, :2]), (level, level[:, 2:]))
    assert len(both) == 2 and torch.equal(both[0], 2 * level)


@torch.inference_mode()
def test_a_row_of_gap_0_takes_the_key_frames_own_features_at_each_level():
    model = made(ConstantFlow(16, 16)).eval()
    key, current = frames(3), frames(3, seed=2)
    mixed = model(key, current, torch.tensor([0, 3, 0]))
    own = model.encode(key)
    carried = model.propagate(own, key, current)
    for level, still, moved in zip(mixed, own, carried, strict=True):
        assert torch.equal(level[[0, 2]], still[[0, 2]]) and torch.equal(level[1], moved[1])
        assert (level[1] - still[1]).abs().max() > 0.1
    chosen = chosen_rows(torch.tensor([True, False, True]), own, carried)
    assert all(map(torch.equal, chosen, mixed))


def test_every_parameter_has_a_gradient_and_gap_0_leaves_the_flow_alone():
    model, side = made(), torch.tensor([0, 1])
    for gap, reaches in ((0, False), (3, True)):
        model.zero_grad()
        features = model(frames(2), frames(2, seed=2), torch.full((2,), gap))
        model.losses(features, {"side": side})["both"]["both"].backward()
        assert all(p.grad is not None for p in model.parameters()), "DDP would miss a gradient"
        for part in (model.flow_network, *model.scale_layers):
            assert any(bool(p.grad.abs().max() > 0) for p in part.parameters()) is reaches
        assert all(layer.weight.grad.abs().max() > 0 for layer in model.feature_network.layers)


@torch.inference_mode()
def test_rows_do_not_depend_on_their_batch():
    model = made().eval()
    nn.init.normal_(model.scale_layers[0].weight, std=0.1)
    key, current, gap = frames(3), frames(3, seed=2), torch.tensor([4, 0, 2])
    together = model(key, current, gap)
    alone = [model(*(rows[i : i + 1] for rows in (key, current, gap))) for i in range(3)]
    for level, rows in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(level, torch.cat(rows), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_video_is_recognised_by_all_levels():
    model, video = made(ConstantFlow(16, 0)).eval(), frames(5).split(1)
    own = [model.predict(model.encode(frame), (72, 104))["both"] for frame in video]
    found = [found["both"] for found in stream(model, video, FixedSchedule(1))]
    torch.testing.assert_close(torch.cat(found), torch.cat(own))
    found = [found["both"] for found in stream(model, video, FixedSchedule(3))]
    features = model.propagate(model.encode(video[0]), video[0], video[2])
    torch.testing.assert_close(found[2], model.predict(features, (72, 104))["both"])
    torch.testing.assert_close(found[3], own[3])
    assert (found[2] - own[2]).abs().max() > 1e-3


def test_the_cost_of_warping_is_that_of_all_levels():
    model = made(NoFlow())
    assert complexity(model, (64, 96)).warp == 9 * (4 * 8 * 12 + 6 * 4 * 6)
    model = made()
    with_scale = complexity(model, (64, 96)).flow_network
    layers = 2 * model.flow_network.context_channels * sum(CHANNELS) * 4 * 6
    model.scale_layers = nn.ModuleList()
    assert with_scale - complexity(model, (64, 96)).flow_network == layers


@torch.inference_mode()
def test_a_network_that_resizes_its_images_moves_by_the_strides_of_each_size():
    class Resizing(nn.Module):
        """Any image becomes 8 x 8 cells."""

        channels, strides = (3,), (8,)

        def forward(self, image):
            return F.adaptive_avg_pool2d(image, 8)

        def strides_for(self, size):
            return [(size[0] / 8, size[1] / 8)]

    for (height, width), (x, y) in (((64, 64), (16, 8)), ((96, 160), (40, 12))):
        model = DeepFeatureFlow(Resizing(), ConstantFlow(x, y), {})
        key, current = frames(2, (height, width)).split(1)
        features = model.encode(key)
        carried = model.propagate(features, key, current)
        torch.testing.assert_close(carried, shifted(features, 2, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "strides", "said"),
    [
        (None, (16,), r"channels None and strides \(16,\)"),
        ((1024,), None, r"channels \(1024,\) and strides None"),
        ((), (), r"channels \(\) and strides \(\)"),
        ((64, 128), (16,), r"channels \(64, 128\) and strides \(16,\)"),
    ],
)
def test_a_feature_network_that_does_not_tell_its_levels_is_refused(channels, strides, said):
    network = nn.Identity()
    for name, value in (("channels", channels), ("strides", strides)):
        if value is not None:
            setattr(network, name, value)
    wanted = r"wanted both, a number for each level, such as \(1024,\) and \(16,\)$"
    with pytest.raises(ValueError, match=rf"the feature network Identity has {said}: {wanted}"):
        DeepFeatureFlow(network, NoFlow(), {})


def test_a_head_of_one_level_refuses_several():
    assert only_level("depth", (1024,), (16,)) == (1024, 16)
    said = r"gives 2 levels \(strides 8, 16\), and the head of {} takes one: join them"
    with pytest.raises(ValueError, match=said.format("depth")):
        only_level("depth", CHANNELS, STRIDES)
    for task in (Segmentation(), Detection()):
        with pytest.raises(ValueError, match=said.format(task.name)):
            task.head(CHANNELS, STRIDES)


def test_heads_are_made_for_the_channels_and_the_stride_of_the_level():
    assert Segmentation(5).head((24,), (8,)).scores.in_channels == 24
    head = Detection(3).head((24,), (8,))
    assert (head.stride, head.rpn.stride, head.rpn.scores.in_channels) == (8, 8, 12)
    assert Detection(3, {"stride": 32}).head((24,), (8,)).stride == 32  # as the settings say
