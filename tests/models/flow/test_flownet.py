import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dff.models.backbones.resnet import ResNet
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.flownet import FlowDecoder, FlowNet
from dff.models.flow.inception import FlowNetInception
from dff.models.flow.pair_input import PairInput

NETWORKS = {
    "flownet": lambda **kw: FlowNet(**kw),
    "half": lambda **kw: FlowNet(width=0.5, **kw),
    "inception": lambda **kw: FlowNetInception(**kw),
    "inception_batch_norm": lambda **kw: FlowNetInception(normalization="batch", **kw),
}
SMALL = ["half", "inception", "inception_batch_norm"]


def frames(height=64, width=96, batch=1):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, batch, 3, height, width, generator=generator).unbind()


@pytest.mark.parametrize(
    ("name", "ratios", "tolerance"),
    [
        ("flownet", (9.20, 12.71), 0.02),
        ("half", (33.56, 46.30), 0.02),
        ("inception", (68.97, 95.24), 0.03),
    ],
)
def test_cost_against_the_feature_network_is_that_of_table_2(name, ratios, tolerance):
    def flops(run, *inputs):
        with FlopCounterMode(display=False) as counter:
            run(*inputs)
        return counter.get_total_flops()

    def flow_and_scale(model, image):
        flow = model.find_flow(image, image)
        model.scale_field(flow, flow.field.shape[-2:])

    with torch.device("meta"), torch.no_grad():
        image = torch.empty(1, 3, 600, 1000)
        for depth, ratio in zip((50, 101), ratios, strict=True):
            model = DeepFeatureFlow(ResNet(depth), NETWORKS[name](), {})
            cost = flops(flow_and_scale, model, image)
            assert flops(model.encode, image) / cost == pytest.approx(ratio, rel=tolerance)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (100, 130), (127, 129)])
def test_flow_and_scale_have_the_size_of_the_features(name, size):
    with torch.device("meta"):
        image = torch.empty(2, 3, *size)
        network = NETWORKS[name]()
        model = DeepFeatureFlow(ResNet(18, channels=40), network, {})
        found = model.find_flow(image, image)
        flow, features = found.field, model.encode(image)
        scale = model.scale_field(found, features.shape[-2:])
        pyramid = network.pyramid(image, image)
    assert scale.shape == features.shape
    assert found.context.shape[1] == network.context_channels
    assert flow.shape == pyramid[-1].shape == (2, 2, *features.shape[-2:])
    strides = (128, 64, 32, 16, 16)
    sizes = [(-(-size[0] // s), -(-size[1] // s)) for s in strides]
    assert [tuple(level.shape) for level in pyramid] == [(2, 2, *s) for s in sizes]


@pytest.mark.parametrize("name", SMALL)
def test_scale_field_is_1_before_training(name):
    model = DeepFeatureFlow(ResNet(18, channels=16), NETWORKS[name](), {})
    scale = model.scale_field(model.find_flow(*frames(batch=2)), (4, 6))
    assert scale.shape == (2, 16, 4, 6) and torch.equal(scale, torch.ones_like(scale))


@pytest.mark.parametrize("name", SMALL)
def test_flow_is_the_last_of_the_pyramid_in_image_pixels(name):
    network = NETWORKS[name]().eval()
    current, key = frames(65, 97)
    raw = network.pyramid(current, key)[-1]
    flow = network(current, key).field
    # One unit is 20 pixels of the half-size image, 40 of the image.
    assert torch.allclose(flow, raw * network.FLOW_UNIT * 2)
    assert flow.abs().max() > 0


@pytest.mark.parametrize("name", SMALL)
def test_current_and_key_are_not_interchangeable(name):
    network = NETWORKS[name]().eval()
    current, key = frames()
    one, other = network(current, key).field, network(key, current).field
    assert not torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name):
    network = NETWORKS[name]().train()
    model = DeepFeatureFlow(ResNet(18, channels=16), network, {})
    flow = model.find_flow(*frames(128, 128, batch=2))
    scale = model.scale_field(flow, (8, 8))
    (flow.field.square().sum() + (scale * torch.rand_like(scale)).sum()).backward()
    learned = [*network.parameters(), *model.scale_layers.parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)


def test_pretraining_reaches_every_parameter():
    network = FlowNet(width=0.5)
    sum(level.square().sum() for level in network.pyramid(*frames())).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", SMALL)
def test_flow_is_float32_under_bfloat16(name):
    network = NETWORKS[name]().eval()
    model = DeepFeatureFlow(ResNet(18, channels=16), network, {})
    expected = network(*frames()).field
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.find_flow(*reversed(frames()))
        flow, scale = found.field, model.scale_field(found, (4, 6))
        pyramid = network.pyramid(*frames())
    assert {level.dtype for level in (flow, *pyramid)} == {torch.float32}
    assert scale.dtype == torch.bfloat16
    assert torch.allclose(flow, expected, atol=0.1 * expected.abs().max().item())
    # More digits than bfloat16 holds: the last convolution ran in float32.
    assert not torch.equal(flow, flow.bfloat16().float())


def test_input_is_rgb_less_the_mean_pooled_over_valid_pixels_alone():
    current, key = frames(65, 67)
    pair = FlowNet(width=0.5).pair(current, key)
    assert pair.shape == (1, 6, 33, 34)
    mean = torch.tensor([123.15, 115.90, 103.06]).view(3, 1, 1) / 255
    assert torch.allclose(pair[:, :3, 0, 0], (current[..., :2, :2] - mean).mean((2, 3)), atol=1e-6)
    # The last window holds one pixel, and is that pixel, not a quarter of it.
    assert torch.allclose(pair[0, 3:, -1, -1], key[0, :, -1, -1] - mean[:, 0, 0], atol=1e-6)


def test_upsampling_starts_as_bilinear():
    decoder = FlowDecoder((4, 4, 4, 4, 4), (2, 2, 2, 2))
    # A coarse flow that is a ramp, and nothing else: the finest map's last two channels carry it.
    ramp = (torch.arange(6.0) + 10 * torch.arange(6.0)[:, None]).expand(1, 4, 6, 6)
    for prediction in decoder.predictions:
        nn.init.zeros_(prediction.weight)
    decoder.predictions[0].weight.data[0, 0, 1, 1] = 1
    decoder.predictions[1].weight.data[0, -2, 1, 1] = 1
    maps = [ramp] + [torch.zeros(1, 4, 6 * 2**i, 6 * 2**i) for i in range(1, 5)]
    flows, _ = decoder.refine(maps)
    wanted = nn.functional.interpolate(ramp, scale_factor=2, mode="bilinear")[0, 0]
    assert torch.allclose(flows[1][0, 0, 2:-2, 2:-2], wanted[2:-2, 2:-2], atol=1e-5)


@pytest.mark.parametrize("name", ["half", "inception"])
def test_one_graph_for_the_compiler(name):
    network = NETWORKS[name]().eval()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    with torch.no_grad():
        found, wanted = compiled(*frames()), network(*frames())
        assert torch.allclose(found.field, wanted.field, atol=1e-6)


@pytest.mark.parametrize("name", ["half", "inception"])
def test_small_and_unlike_frames_are_refused_with_the_cure(name):
    network = NETWORKS[name]()
    with pytest.raises(ValueError, match=r"63 x 96 pixels.*at least 64.*enlarge"):
        network(*frames(63, 96))
    with pytest.raises(ValueError, match="same size"):
        network.pyramid(frames(64, 96)[0], frames(64, 64)[0])


def test_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="choose one of 'none', 'batch'"):
        FlowNetInception(normalization="layer")


def test_the_input_can_be_in_half_precision_like_any_module():
    assert PairInput().half().mean.dtype == torch.float16
