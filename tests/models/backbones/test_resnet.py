import pytest
import torch
import torchvision
from torch import nn

from dff.models.backbones.resnet import FrozenBatchNorm2d, ResNet, split


def randomised(network, seed=0):
    """Random statistics, gammas and betas: at their initial values many mistakes are invisible."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -0.2), (module.bias, -0.2)):
                tensor.data.uniform_(low, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.3, 0.7, generator=generator)
    return network.eval()


def run_to(network, last, x):
    for name, layer in network.named_children():
        x = layer(x)
        if name == last:
            return x
    raise AssertionError(last)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 47), (1, 17)])
def test_stride_is_16_rounded_up(depth, size):
    with torch.device("meta"):
        features = ResNet(depth, channels=24)(torch.rand(2, 3, *size))
    assert features.shape == (2, 24, -(-size[0] // 16), -(-size[1] // 16))


@pytest.mark.parametrize("depth", [18, 50, 101])
def test_names_and_shapes_are_those_of_torchvision(depth):
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
    ours = ResNet(depth).state_dict()
    shapes = {name: value.shape for name, value in ours.items() if not name.startswith("reduce")}
    assert shapes == {k: v.shape for k, v in theirs.items() if not k.startswith("fc")}
    assert {name for name in ours if name.startswith("reduce")} == {"reduce.weight", "reduce.bias"}


@pytest.mark.parametrize("depth", [18, 50])
def test_layers_up_to_stride_16_equal_torchvision(depth):
    theirs = randomised(getattr(torchvision.models, f"resnet{depth}")(weights=None))
    ours = ResNet(depth, stride_in="second", normalization="torchvision").eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc")}
    ours.load_state_dict(state, strict=False)
    image = torch.rand(1, 3, 65, 97)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        expected = run_to(theirs, "layer3", normalised)
        actual = run_to(ours, "layer3", image)
        assert torch.allclose(actual, expected, atol=1e-5 * expected.abs().max().item())
        # The same weights with the stride in the 1x1 are another function, for a bottleneck.
        first = ResNet(depth, stride_in="first", normalization="torchvision").eval()
        first.load_state_dict(state, strict=False)
        assert torch.allclose(run_to(first, "layer3", image), actual) == (depth == 18)


@pytest.mark.parametrize("depth", [18, 50])
def test_conv5_trades_its_stride_for_dilation(depth):
    network = ResNet(depth)
    threes = [m for m in network.layer4.modules() if getattr(m, "kernel_size", 0) == (3, 3)]
    assert len(threes) == (4 if depth == 18 else 3)
    assert all(m.dilation == m.padding == (2, 2) and m.stride == (1, 1) for m in threes)
    assert network.reduce.dilation == network.reduce.padding == (6, 6)


def test_official_input_is_rgb_of_255_less_its_mean():
    image = torch.rand(1, 3, 4, 4)
    mean = torch.tensor([123.15, 115.90, 103.06]).view(3, 1, 1)
    assert torch.allclose(ResNet(18).normalize(image), image * 255 - mean, atol=1e-4)


def test_frozen_batch_norm_keeps_its_statistics_and_learns_gamma_and_beta():
    network = ResNet(18, channels=16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.rand(2, 3, 64, 64)
    as_built = network(image)
    trained = network.train()(image)
    assert torch.equal(as_built, trained)
    trained.square().mean().backward()
    torch.optim.SGD(network.parameters(), lr=1e-2).step()
    after = network.state_dict()
    assert all(torch.equal(after[n], before[n]) for n in after if "running" in n or "track" in n)
    assert not torch.equal(after["layer1.0.bn1.weight"], before["layer1.0.bn1.weight"])
    assert not torch.equal(after["layer1.0.bn1.bias"], before["layer1.0.bn1.bias"])
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    network.load_state_dict(before)
    assert torch.equal(network.eval()(image), trained)


def test_trained_batch_norm_moves_its_statistics():
    network = ResNet(18, batch_norm="trained")
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in network.modules())
    network.train()(torch.rand(2, 3, 64, 64))
    assert not torch.equal(network.bn1.running_mean, torch.zeros(64))


@pytest.mark.parametrize("normalization", ["official", "torchvision"])
@pytest.mark.parametrize("depth", [18, 101])
def test_random_weights_keep_the_size_of_the_activations(depth, normalization):
    torch.manual_seed(0)
    with torch.no_grad():
        features = ResNet(depth, normalization=normalization)(torch.rand(1, 3, 96, 96))
    assert 0.1 < features.std() < 10


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("task_layers", [1, 5, 12, 21])
def test_front_and_tail_make_the_whole(depth, task_layers):
    network = randomised(ResNet(depth, channels=32))
    front, tail = split(network, task_layers)
    image = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        between = front(image)
        assert between.shape == (1, *front.channels, 5, 7)
        assert torch.equal(tail(between), network(image))
    names = [*front.state_dict(), *tail.state_dict()]
    assert sorted(names) == sorted(network.state_dict())
    assert (len(names) == len(front.state_dict())) == (task_layers == 1)


def test_splits_of_resnet101_keep_the_layers_that_the_paper_counts():
    network = ResNet(101)
    for task_layers in (1, 5, 12, 21):
        _, tail = split(network, task_layers)
        convolutions = [module for module in tail.modules() if isinstance(module, nn.Conv2d)]
        # The task network's own 1x1 comes on top.
        assert len(convolutions) + 1 == task_layers


@pytest.mark.parametrize(
    "arguments", [{"depth": 20}, {"stride_in": "third"}, {"batch_norm": "no"}, {"normalization": 1}]
)
def test_unknown_choices_are_named_with_the_known_ones(arguments):
    with pytest.raises(ValueError, match=rf"{next(iter(arguments))}=.*choose one of"):
        ResNet(**arguments)
    with pytest.raises(ValueError, match="task_layers=3: choose one of 21, 12, 5, 1"):
        split(ResNet(18), 3)
