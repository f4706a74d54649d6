"""The detection head gives the numbers of the authors' released code, losses and gradients too.

As test_reference.py: set DFF_SHARED to the folder that holds `reference/`. Run with -rP to see the
errors reached.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SHARED

from dff.lit.checkpoints import load_model
from dff.models.backbones.resnet import MEAN_STD
from dff.models.heads.detection.boxes import base_anchors, clip, decode, encode, overlaps, suppress
from dff.models.heads.detection.psroi import pool_regions, vote
from dff.models.heads.detection.rfcn import (
    OFFICIAL_NAMES,
    DetectionHead,
    label_regions,
    ohem_mask,
    region_errors,
)
from dff.models.heads.detection.rpn import AnchorLabels, Regions, by_anchor, propose
from dff.models.weights.load import official_name
from dff.models.weights.mxnet import write_params

ROOT = Path(__file__).parents[2]
FOLDER = SHARED / "reference"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no reference vectors at {FOLDER}: set DFF_SHARED"
)
FRAME, ORIGINAL = (96, 160), (720, 1200)
"""The vectors divide both axes by 96 / 720, so their frame of 1280 columns ends at 1200."""


def vectors(name):
    arrays = np.load(FOLDER / f"{name}.npz").items()
    return {k: torch.from_numpy(v) for k, v in arrays if v.dtype.kind in "fiu"}


def check(name, actual, expected, tolerance=None):
    assert actual.shape == expected.shape, f"{name}: {actual.shape}, {expected.shape}"
    largest = expected.abs().max().item()
    tolerance = tolerance or 1e-4 * max(1, largest)
    error = (actual - expected).abs().max().item()
    print(f"{name:24s} max |reference| {largest:8.3f}  max abs error {error:.1e}")
    assert error <= tolerance, f"{name}: {error} > {tolerance}"


@pytest.fixture(scope="module")
def make_head(official_arrays):
    """Heads with the official weights: make_head(box_stds=...)."""
    arrays = official_arrays(("rpn_", "rfcn_"))

    def make(**kwargs):
        head = DetectionHead(1024, 30, **kwargs)
        state = {}
        for name, array in arrays.items():
            layer, kind = name.removeprefix("arg:").rsplit("_", 1)
            state[f"{OFFICIAL_NAMES[layer]}.{kind}"] = torch.from_numpy(array)
        head.load_state_dict(state)
        return head

    return make


def features_of(frame):
    if frame == "key":
        return vectors("resnet_96x160")["feat_conv_3x3_relu"]
    return vectors("cur_96x160")["warping_feat"] * vectors("flownet_96x160")["scale_map"]


def test_boxes():
    expected = vectors("boxes")
    check("anchors", base_anchors(), expected["anchors"], 1e-9)
    boxes, truth = expected["ex_boxes"], expected["gt_boxes"]
    check("transform", encode(boxes, truth), expected["transform"], 1e-9)
    moved = decode(boxes[:, None], expected["deltas"].view(50, 2, 4))
    check("pred", moved.flatten(1), expected["pred"], 1e-9)
    inside = clip(moved.flatten(0, 1)[None], torch.tensor([[96, 160]]))
    check("pred_clipped", inside.view(50, 8), expected["pred_clipped_96x160"], 1e-9)
    check("overlaps", overlaps(boxes, truth), expected["overlaps"], 1e-12)


@pytest.mark.parametrize(("threshold", "name"), [(0.3, "nms_keep_03"), (0.7, "nms_keep_07")])
def test_suppression(threshold, name):
    expected = vectors("boxes")
    boxes, scores = expected["nms_dets"].split((4, 1), 1)
    order = scores[:, 0].sort(descending=True, stable=True).indices
    kept, count = suppress(boxes[order][None], threshold)
    assert torch.equal(order[kept[0, : count[0]]], expected[name])


@pytest.mark.parametrize("case", ["a", "b"])
def test_proposals(case):
    expected = vectors("proposal")
    size = expected[f"{case}_im_info"][:, :2]
    deltas = by_anchor(expected[f"{case}_deltas"])
    regions = propose(expected[f"{case}_prob"][:, 9:], deltas, base_anchors(), size)
    assert regions.number.item() == expected[f"{case}_n_unique_cxx"]
    check("rois", regions.boxes[0], expected[f"{case}_rois_cxx"][:, 1:], 1e-3)
    check("scores", regions.scores[0, :, None], expected[f"{case}_scores_cxx"], 1e-6)


def test_pooling_and_its_gradients():
    expected = vectors("psroi")
    maps = expected["data"].requires_grad_()
    owners, regions = expected["rois"][:, 0].long(), expected["rois"][:, 1:]
    pooled = pool_regions(maps, regions, owners)
    pooled.backward(expected["out_grad"])
    check("out", pooled.detach(), expected["out"], 1e-5)
    check("grad_data", maps.grad, expected["grad_data"], 1e-5)
    check("vote", vote(maps, regions, owners).detach(), expected["out"].mean((2, 3)), 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("frame", ["key", "cur"])
def test_maps_regions_and_what_they_are(make_head, frame):
    expected = vectors(f"{frame}_96x160")
    # The test symbol was run on the plain weights, that is with deviations of 1.
    head = make_head(box_stds=(1, 1, 1, 1))
    maps = head(features_of(frame))
    check("rpn_cls_score", maps.rpn_scores, expected["rpn_cls_score"])
    check("rpn_bbox_pred", maps.rpn_deltas, expected["rpn_bbox_pred"])
    check("rfcn_cls", maps.scores, vectors(f"{frame}_96x160_rfcn_cls")["rfcn_cls"], 5e-4)
    check("rfcn_bbox", maps.deltas, expected["rfcn_bbox"])
    probabilities = maps.rpn_scores.unflatten(1, (2, 9)).softmax(1).flatten(1, 2)
    check("rpn_cls_prob", probabilities, expected["rpn_cls_prob_reshape"], 2e-5)
    denormalized = by_anchor(maps.rpn_deltas) * head.rpn.stds
    check("rpn_bbox_pred_denorm", denormalized, by_anchor(expected["rpn_bbox_pred_denorm"]))

    sizes = torch.tensor([FRAME])
    regions = head.rpn.propose(maps.rpn_scores, maps.rpn_deltas, sizes)
    check("rois", regions.boxes[0], expected["rois"][:, 1:], 1e-3)
    first, owners = expected["rois"][:16, 1:], torch.zeros(16, dtype=torch.int64)
    for name, given in (("cls", maps.scores), ("loc", maps.deltas)):
        wanted = expected[f"psroipooled_{name}_rois_first16"]
        check(f"psroipooled_{name}", pool_regions(given, first, owners), wanted, 5e-4)

    scores, _ = head.classify(maps, regions.boxes, sizes)
    check("cls_score", scores[0], expected["cls_score_reshape"])
    probabilities, boxes = head.detect(maps, regions, sizes)
    check("cls_prob", probabilities, expected["cls_prob_reshape"], 1e-5)
    check("pred_boxes", boxes[0] * 7.5, expected["pred_boxes_orig_scale"][:, 4:].float(), 5e-3)
    exact = Regions(expected["rois"][None, :, 1:], regions.scores, regions.number)
    _, deltas = head.classify(maps, exact.boxes, sizes)
    check("bbox_pred", deltas, expected["bbox_pred_reshape"][..., 4:], 1e-5)


@pytest.mark.parametrize("frame", ["key", "cur"])
def test_detections(make_head, frame):
    expected = vectors(f"{frame}_96x160")["final_dets"].float()
    expected = expected[expected[:, 5].argsort(descending=True, stable=True)]
    head = make_head(box_stds=(1, 1, 1, 1))
    found = head.predict(features_of(frame), ORIGINAL, FRAME)[0]
    count = int((found[:, 5] >= 0).sum())
    assert count == len(expected) and (found[count:, 4] == 0).all()
    assert torch.equal(found[:count, 5] + 1, expected[:, 0])
    check("boxes", found[:count, :4], expected[:, 1:5], 5e-3)
    check("scores", found[:count, 4], expected[:, 5], 1e-5)


@pytest.mark.parametrize("official", ["test", "plain"])
def test_weights_of_the_tester_are_ours_times_the_deviations(make_head, official):
    """The official tester folds the deviations into the layer, and this head applies them."""
    features = features_of("key")
    head = make_head()
    if official == "test":
        stds = head.stds.repeat(2).repeat_interleave(49)
        folded = make_head(box_stds=(1, 1, 1, 1))
        with torch.no_grad():
            folded.deltas.weight *= stds.view(-1, 1, 1, 1)
            folded.deltas.bias *= stds
        torch.testing.assert_close(
            head.predict(features, FRAME), folded.predict(features, FRAME), atol=1e-3, rtol=0
        )
    else:
        unscaled = make_head(box_stds=(1, 1, 1, 1))
        assert not torch.allclose(head.predict(features, FRAME), unscaled.predict(features, FRAME))


@pytest.fixture(scope="module")
def trained(networks, make_head):
    """One training step of the whole model: features, losses and all gradients.

    The two large networks run in fp64, with a mean colour in fp64. In fp32 some activations beside
    zero change sides of a ReLU, and gradients of the first layers are off by 1e-4 of the largest.
    """
    expected = vectors("train_noneq")
    head = make_head()
    model = networks[2].double()
    mean = torch.tensor(MEAN_STD["official"][0], dtype=torch.float64)
    model.feature_network.normalize.mean.copy_(mean.view(1, 3, 1, 1))
    key, current = (
        expected[f"im_{name}_u8"].flip(-1).permute(2, 0, 1)[None].double() / 255
        for name in ("key", "cur")
    )
    features = model(key, current, torch.tensor([5])).float()
    losses = head.loss(features, targets_of(expected))
    sum(losses.values()).backward()
    model.heads["detection"] = head
    ours = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    del model.heads["detection"]
    # They are the session's; fp64 held their fp32 weights exactly.
    model.float()
    return features.detach(), {k: v.item() for k, v in losses.items()}, ours


def targets_of(expected):
    return {
        "boxes": expected["gt_boxes"][None, :, :4],
        "box_labels": expected["gt_boxes"][None, :, 4].long() - 1,
        "size": expected["im_info"][:, :2],
    }


def our_name(name):
    layer, kind = name.rsplit("_", 1)
    if layer in OFFICIAL_NAMES:
        return f"heads.detection.{OFFICIAL_NAMES[layer]}.{kind}"
    return official_name(name)


def test_losses(trained):
    sums = vectors("train_noneq")["metrics_sum_num"]
    wanted = {
        "rpn_class": sums[1, 0] / sums[1, 1],
        "rpn_box": sums[2, 0] / 256,
        "class": sums[4, 0] / sums[4, 1],
        "box": sums[5, 0] / 128,
    }
    assert trained[1].keys() == wanted.keys()
    for name, value in wanted.items():
        print(f"{name:12s} {value:.6f} relative error {abs(trained[1][name] / value - 1):.1e}")
        assert trained[1][name] == pytest.approx(value.item(), rel=5e-6)


def test_labels_of_anchors(make_head):
    expected = vectors("train_noneq")
    targets = targets_of(expected)
    labels: AnchorLabels = make_head().rpn.label(
        16, 20, targets["boxes"], targets["box_labels"] >= 0, targets["size"]
    )
    by_map = labels.labels.view(1, 16, 20, 9).permute(0, 3, 1, 2).flatten(1)
    assert torch.equal(by_map, expected["rpn_label"].long())
    ones = labels.labels == 1
    check(
        "rpn_bbox_target",
        torch.where(ones[..., None], labels.deltas, 0),
        by_anchor(expected["rpn_bbox_target"] * expected["rpn_bbox_weight"]),
        1e-5,
    )


@torch.no_grad()
def test_regions_of_training_and_the_hardest_of_them(trained, make_head):
    expected = vectors("train_noneq")
    head, targets = make_head(), targets_of(vectors("train_noneq"))
    maps = head(trained[0])
    check("rpn_cls_score", maps.rpn_scores, expected["mid_rpn_cls_score_output"])
    regions = head.rpn.propose(maps.rpn_scores, maps.rpn_deltas, targets["size"])
    check("rois", regions.boxes[0], expected["mid_rois_output"][:, 1:], 1e-3)
    labelled = label_regions(regions.boxes, targets["boxes"], targets["box_labels"], head.stds)
    check(
        "rois, objects first", labelled.boxes[0], expected["mid_custom1_rois_output"][:, 1:], 1e-3
    )
    assert torch.equal(labelled.labels[0], expected["mid_custom1_label"].long())
    objects = labelled.labels[0, :, None] > 0
    wanted = expected["mid_custom1_bbox_target"][:, 4:]
    check("bbox_target", torch.where(objects, labelled.deltas[0], 0), wanted)
    scores, deltas = head.classify(maps, labelled.boxes, targets["size"])
    check("cls_score", scores[0], expected["mid_cls_score_reshape_output"])
    check("bbox_pred", deltas[0], expected["mid_bbox_pred_reshape_output"][:, 4:])
    hard = ohem_mask(sum(region_errors(scores, deltas, labelled)), labelled.labels, head.ohem)
    kept = torch.where(hard, labelled.labels, -1)[0]
    assert torch.equal(kept, expected["mid_custom2_labels_ohem"].long())


def test_gradients_of_all_parameters(trained):
    expected, ours = vectors("train_noneq"), trained[2]
    norms = json.loads((FOLDER / "train_noneq_gradnorms.json").read_text())
    assert len(norms) == 370 and {our_name(name) for name in norms} == set(ours)
    errors = {}
    for name, (norm, *_) in norms.items():
        actual = ours[our_name(name)].double().norm().item()
        errors[name] = abs(actual - norm) / max(norm, 1e-12)
    worst = max(errors, key=errors.get)
    print(f"370 norms, largest relative error {errors[worst]:.1e} of {worst}")
    assert errors[worst] <= 1e-5
    for name in (key for key in expected if key.startswith("grad_")):
        wanted = expected[name]
        check(name, ours[our_name(name[5:])], wanted, 1e-5 * wanted.abs().max().item())


def test_a_converted_checkpoint_is_a_model_that_predicts(official_arrays, tmp_path):
    source, target = tmp_path / "dff.params", tmp_path / "dff.ckpt"
    arrays = official_arrays()
    arrays["arg:rfcn_bbox_bias_test"] = arrays["arg:rfcn_bbox_bias"] * 0.1
    write_params(source, arrays)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/convert_weights.py", source, target],
        capture_output=True,
        text=True,
    )
    source.unlink()
    assert done.returncode == 0, done.stderr
    assert "left over  arg:rfcn_bbox_bias_test" in done.stdout
    module = load_model(target)
    target.unlink()
    names = module.tasks["detection"].classes
    assert names[0] == "airplane" and len(names) == 30
    deltas = module.model.heads["detection"].deltas.bias.detach().numpy()
    np.testing.assert_array_equal(deltas, arrays["arg:rfcn_bbox_bias"])
    flow = module.model.flow_network.decoder.flow.bias.detach().numpy()
    np.testing.assert_array_equal(flow, arrays["arg:Convolution5_bias"])
