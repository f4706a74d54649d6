"""The networks give the numbers of the authors' released code, weights and all.

The vectors were produced by running that code on MXNet; they are not part of the project. Set
DFF_SHARED to the folder that holds `reference/`. Run with -rP to see the errors reached.
"""

import json

import numpy as np
import pytest
import torch
from small import SHARED
from torch import nn

from dff.models.backbones.resnet import ResNet
from dff.models.warp import flow_at_level, warp

FOLDER = SHARED / "reference"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no reference vectors at {FOLDER}: set DFF_SHARED"
)
SIZES = ["96x160", "101x163"]


def vectors(name):
    return {k: torch.from_numpy(v) for k, v in np.load(FOLDER / f"{name}.npz").items()}


def image(bgr):
    """Stored picture (H, W, 3), BGR uint8 -> (1, 3, H, W), RGB in [0, 1]."""
    return bgr.flip(-1).permute(2, 0, 1)[None].float() / 255


def check(name, actual, expected, tolerance=None):
    assert actual.shape == expected.shape, name
    largest = expected.abs().max().item()
    tolerance = tolerance or 1e-4 * max(1, largest)
    error = (actual - expected).abs().max().item()
    print(f"{name:24s} max |reference| {largest:8.3f}  max abs error {error:.1e}")
    assert error <= tolerance, f"{name}: {error} > {tolerance}"


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_resnet(networks, size):
    expected = vectors(f"resnet_{size}")
    x = image(expected["im_key_u8"])
    taps = {
        "conv1": "conv1_ch0_8",
        "bn1": "bn_conv1_ch0_8",
        "maxpool": "pool1_ch0_8",
        "layer1": "res2c_relu_ch0_16",
        "layer2": "res3b3_relu_ch0_32",
        "layer3": "res4b22_relu_ch0_128",
        "layer4": "res5c_relu_ch0_256",
        "reduce_relu": "feat_conv_3x3_relu",
    }
    for name, layer in networks[0].named_children():
        x = layer(x)
        if name in taps:
            wanted = expected[taps[name]]
            check(taps[name], x[:, : wanted.shape[1]].clone(), wanted)
    # Tighter than the maps before it: this one is what propagates.
    check("features", networks[0](image(expected["im_key_u8"])), wanted, 5e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_flownet(networks, size):
    network = networks[1]
    expected = vectors(f"flownet_{size}")
    pair = image(expected["im_cur_u8"]), image(expected["im_key_u8"])
    check("resize_data", network.pair(*pair), expected["resize_data"], 1e-6)
    _, joined = network.decoder.refine(network.encoder(network.pair(*pair)))
    check("resize_concat5", joined, expected["resize_concat5"])
    pyramid = network.pyramid(*pair)
    for number, flow in enumerate(pyramid[:4], start=1):
        check(f"Convolution{number}", flow, expected[f"Convolution{number}"])
    flow = network(*pair)
    cells = flow_at_level(flow.field, 16, 16, flow.field.shape[-2:])  # the reference's unit
    check("flow", cells, expected["flow"], 5e-5)
    check("flow from the pyramid", 2.5 * pyramid[-1], expected["flow"], 5e-5)
    scale = networks[2].scale_field(flow, flow.field.shape[-2:])
    check("scale_map", scale, expected["scale_map"], 1e-5)


def test_warp_and_its_gradients():
    expected = vectors("warp")
    features = expected["feat"].requires_grad_()
    flow = expected["flow"].requires_grad_()
    out = warp(features, flow)
    out.backward(expected["out_grad"])
    check("out", out.detach(), expected["out"], 1e-5)
    check("grad_feat", features.grad, expected["grad_feat"], 1e-5)
    # Row 0 holds whole and half pixels, where a gradient of the wrong side would be off by 9.
    check("grad_flow", flow.grad, expected["grad_flow"], 2e-5)


@torch.no_grad()
def test_current_frame_is_the_warped_key_frame(networks):
    """`warping_feat` is before the product with the scale field."""
    model = networks[2]
    expected = vectors("flownet_96x160")
    current, key = image(expected["im_cur_u8"]), image(expected["im_key_u8"])
    moved = model.propagate(model.encode(key), key, current, "no_scale")
    check("warping_feat", moved, vectors("cur_96x160")["warping_feat"])


def grad_norms():
    return json.loads((FOLDER / "train_noneq_gradnorms.json").read_text())


def test_batch_norm_of_the_official_code_trains_gamma_and_beta():
    norms = grad_norms()
    network = ResNet(50)
    assert norms["bn5c_branch2c_gamma"][0] > 0 and norms["bn5c_branch2c_beta"][0] > 0
    batch_norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.weight.requires_grad and m.bias.requires_grad for m in batch_norms)
