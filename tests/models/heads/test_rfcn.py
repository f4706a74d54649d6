import pytest
import torch

from dff.models.heads.detection.boxes import overlaps
from dff.models.heads.detection.rfcn import OFFICIAL_NAMES, DetectionHead, label_regions, ohem_mask

PARTS = {"rpn_class", "rpn_box", "class", "box"}
SIZE = (96, 128)


def make_head(channels=16, classes=3, **kwargs):
    torch.manual_seed(0)
    settings = {"anchor_scales": (1, 2, 4), "proposals": 50, "ohem": 64, "max_detections": 60}
    head = DetectionHead(channels, classes, **{**settings, **kwargs})
    # As it starts, all scores are nearly equal, and the order of the proposals would be rounding.
    for layer in (head.rpn.scores, head.rpn.deltas, head.scores, head.deltas):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return head


def features(rows=6, columns=8, batch=1, channels=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, rows, columns, generator=generator)


def targets(boxes, labels, size=SIZE):
    return {
        "boxes": torch.tensor([boxes], dtype=torch.float32).view(1, -1, 4),
        "box_labels": torch.tensor([labels], dtype=torch.int64).view(1, -1),
        "size": torch.tensor([size]),
    }


def two_boxes():
    return targets([[10, 10, 50, 60], [60, 20, 120, 80]], [0, 2])


def no_box():
    return targets([], [])


def padded(image, rows, columns, junk=50.0):
    whole = torch.full((1, image.shape[1], rows, columns), junk)
    whole[..., : image.shape[2], : image.shape[3]] = image
    return whole


def assert_same(first, second):
    assert first.keys() == second.keys() == PARTS
    for name in PARTS:
        torch.testing.assert_close(first[name], second[name], msg=lambda m, n=name: f"{n}: {m}")


def test_the_loss_has_four_parts_and_reaches_every_parameter():
    head = make_head()
    losses = head.loss(features(), two_boxes())
    assert set(losses) == PARTS
    assert all(part.shape == () and part > 0 for part in losses.values())
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    # The official layer has deltas of the background, which nothing teaches.
    assert (head.deltas.weight.grad[: 4 * 49] == 0).all()


def test_a_padded_image_has_the_loss_that_it_has_alone():
    head, image = make_head(), features()
    assert_same(head.loss(padded(image, 9, 11), two_boxes()), head.loss(image, two_boxes()))


def test_a_padded_image_has_the_detections_that_it_has_alone():
    head, image = make_head(), features()
    alone = head.predict(image, SIZE)
    assert (alone[..., 5] >= 0).sum() > 10
    torch.testing.assert_close(head.predict(padded(image, 9, 11), SIZE), alone)


def test_regions_up_to_the_edge_do_not_reach_into_the_padding():
    """In fp32 the last of 7 bins may end a hair beyond the edge, and take one more column."""
    head = make_head()
    x = torch.arange(100.0)
    boxes = torch.stack((x, x * 0, x * 0 + 1007, x * 0 + 31), -1)[None]
    image, sizes = features(2, 63), torch.tensor([[32, 1008]])
    with torch.no_grad():
        alone = head.classify(head(image), boxes, sizes)
        together = head.classify(head(padded(image, 4, 66)), boxes, sizes)
    for first, second in zip(alone, together, strict=True):
        torch.testing.assert_close(first, second)


def test_a_batch_has_the_mean_of_its_images():
    head = make_head()
    images = features(), features(5, 6, seed=1)
    single = two_boxes(), targets([[5, 5, 60, 50]], [1], (75, 90))
    boxes = torch.cat((single[0]["boxes"], torch.full((1, 2, 4), torch.nan)))
    boxes[1, 1] = single[1]["boxes"]
    together = {
        "boxes": boxes,
        "box_labels": torch.tensor([[0, 2], [-1, 1]]),
        "size": torch.cat([t["size"] for t in single]),
    }
    batch = torch.cat([padded(image, 7, 9) for image in images])
    alone = [head.loss(image, t) for image, t in zip(images, single, strict=True)]
    assert_same(
        head.loss(batch, together), {name: (alone[0][name] + alone[1][name]) / 2 for name in PARTS}
    )
    rows = head.predict(torch.cat((features(), features(seed=1))), SIZE)
    for row, seed in zip(rows, range(2), strict=True):
        torch.testing.assert_close(row[None], head.predict(features(seed=seed), SIZE))


@pytest.mark.parametrize("rows", [0, 3])
def test_a_frame_without_boxes_is_background(rows):
    head = make_head()
    empty = targets([[0, 0, 0, 0]] * rows, [-1] * rows)
    losses = head.loss(features(), empty)
    assert losses["box"] == 0 and losses["rpn_box"] == 0
    assert losses["class"] > 0 and losses["rpn_class"] > 0
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_rows_that_are_no_boxes_change_nothing():
    head = make_head()
    more = two_boxes()
    more["boxes"] = torch.cat((torch.full((1, 2, 4), torch.nan), more["boxes"]), 1)
    more["box_labels"] = torch.cat((torch.full((1, 2), -1), more["box_labels"]), 1)
    losses = head.loss(features(), more)
    assert_same(losses, head.loss(features(), two_boxes()))
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(
    ("stride", "scales", "steps"), [(16, (2, 4), 60), (8, (4, 8), 120), (32, (1, 2), 60)]
)
def test_training_on_one_image_finds_its_objects(stride, scales, steps):
    head = make_head(anchor_scales=scales, stride=stride)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.03)
    image, wanted = features(SIZE[0] // stride, SIZE[1] // stride), two_boxes()
    history = []
    for _ in range(steps):
        loss = sum(head.loss(image, wanted).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.3 * history[0]
    found = head.predict(image, SIZE)[0, :2]
    found = found[found[:, 5].argsort()]
    assert found[:, 5].tolist() == [0, 2] and found[:, 4].min() > 0.5
    assert overlaps(found[:, :4], wanted["boxes"][0]).diagonal().min() > 0.7


def test_detections_are_sorted_and_unused_rows_are_empty():
    head = make_head(score_threshold=0.29)
    rows = head.predict(features(batch=2), SIZE)
    assert rows.shape == (2, 60, 6)
    used = rows[..., 5] >= 0
    assert used.any(1).all() and not used.all(1).any()
    assert (rows[..., 4].diff(dim=1) <= 0).all()
    assert (rows[used][:, 4] > 0.29).all()
    empty = torch.tensor([0.0, 0, 0, 0, 0, -1])
    assert (rows[~used] == empty).all()
    assert (make_head(score_threshold=1).predict(features(), SIZE) == empty).all()


def test_detections_are_in_pixels_of_the_image_that_was_resized():
    head, (height, width) = make_head(), SIZE
    small = head.predict(features(), SIZE)
    large = head.predict(features(), (3 * height, 2 * width), SIZE)
    # Suppression may end otherwise in other pixels, but no one is before the best.
    ratio = torch.tensor([2, 3, 2, 3, 1, 1])
    torch.testing.assert_close(large[:, 0], small[:, 0] * ratio)
    assert large[..., 2].max() > width and large[..., 3].max() > height


def test_autocast_changes_the_layers_alone():
    head, image = make_head(), features()
    with torch.autocast("cpu", torch.bfloat16):
        maps = head(image)
        losses = head.loss(image, two_boxes())
        rows = head.predict(image, SIZE)
    assert all(m.dtype == torch.float32 for m in maps)
    assert all(part.dtype == torch.float32 for part in losses.values())
    assert rows.dtype == torch.float32
    exact = head.loss(image, two_boxes())
    assert losses["rpn_class"].item() == pytest.approx(exact["rpn_class"].item(), rel=0.05)
    # Half precision would leave whole pixels only, from 128 on not even these.
    whole = rows[..., :4] == rows[..., :4].round()
    assert not whole.all()


def test_true_boxes_are_regions_and_objects_come_first():
    proposals = torch.tensor([[[0.0, 0, 5, 5], [10, 10, 50, 58], [60, 60, 70, 70]]])
    t = two_boxes()
    regions = label_regions(proposals, t["boxes"], t["box_labels"], torch.ones(4))
    assert regions.labels.tolist() == [[1, 1, 3, 0, 0]]
    assert torch.equal(regions.boxes[0, 1:3], t["boxes"][0])
    assert regions.deltas[0, 1:3].abs().max() == 0
    assert torch.equal(regions.boxes[0, 3:], proposals[0, ::2])


def test_the_hardest_regions_are_the_worst_and_never_padding():
    errors = torch.tensor([[1.0, 5, 3, 9, 0], [2.0, 2, 2, 9, 9]])
    labels = torch.tensor([[0, 1, 2, -1, 0], [0, 0, 1, -1, -1]])
    assert ohem_mask(errors, labels, 2).tolist() == [
        [False, True, True, False, False],
        [True, True, False, False, False],
    ]
    assert ohem_mask(errors, labels, 100).sum(1).tolist() == [4, 3]


def test_the_official_layers_are_all_of_the_head():
    names = {f"{ours}.{kind}" for ours in OFFICIAL_NAMES.values() for kind in ("weight", "bias")}
    head = DetectionHead(1024, 30)
    assert set(head.state_dict()) == names
    assert head.scores.weight.shape == (1519, 512, 1, 1)
    assert head.deltas.weight.shape == (392, 512, 1, 1)
    for name, value in head.state_dict().items():
        wanted = pytest.approx(0.01, rel=0.1) if name.endswith("weight") else 0
        assert (value.std().item() if "weight" in name else value.abs().max().item()) == wanted


def test_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="15 channels of features: wanted an even number"):
        DetectionHead(15, 3)
