import pytest
import torch
import torch.nn.functional as F

from dff.models import warp as module
from dff.models.warp import flow_at_level, resample

METHODS = ["grid_sample", "gather"]


@pytest.fixture(params=METHODS)
def _both_ways(request, monkeypatch):
    """Both methods take the same samples."""
    monkeypatch.setattr("test_warp.METHOD", request.param)


METHOD = "grid_sample"


def warp(features, flow):
    return module.warp(features, flow, METHOD)


def constant_flow(features, x, y):
    batch, _, height, width = features.shape
    flow = torch.zeros(batch, 2, height, width, dtype=features.dtype)
    flow[:, 0], flow[:, 1] = x, y
    return flow


def by_hand(features, flow):
    """Bilinear sampling in four loops: what the paper's Eq. 3 says, neighbour by neighbour."""
    batch, _, height, width = features.shape
    out = torch.zeros_like(features)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                px, py = x + flow[b, 0, y, x].item(), y + flow[b, 1, y, x].item()
                for qy in range(height):
                    for qx in range(width):
                        weight = max(0, 1 - abs(qx - px)) * max(0, 1 - abs(qy - py))
                        out[b, :, y, x] += weight * features[b, :, qy, qx]
    return out


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (7, 11), (38, 63), (64, 128)])
def test_zero_flow_changes_nothing(size):
    features = torch.randn(2, 3, *size)
    moved = warp(features, torch.zeros(2, 2, *size))
    # Coordinates of -1..1 cost half a unit in the last place, times the map's size in pixels.
    assert torch.allclose(moved, features, rtol=0, atol=2**-21 * max(size))
    exact = warp(features.double(), torch.zeros(2, 2, *size))
    assert torch.allclose(exact, features.double(), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("_both_ways")
def test_zero_flow_is_exact_where_the_coordinates_are():
    # Steps of 2 / 32 and 2 / 64 have no rounding error: any difference would be a wrong convention.
    features = torch.randn(1, 3, 33, 65)
    assert torch.equal(warp(features, torch.zeros(1, 2, 33, 65)), features)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, 1), (-2, 3), (3, -1)])
def test_whole_pixel_flow_is_a_shift_that_brings_zeros_in(x, y):
    features = torch.randn(1, 4, 9, 7)
    padded = F.pad(features, (4, 4, 4, 4))
    shifted = padded[:, :, 4 + y : 13 + y, 4 + x : 11 + x]
    moved = warp(features, constant_flow(features, x, y))
    assert torch.allclose(moved, shifted, atol=1e-5)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("size", [(5, 6), (1, 6), (5, 1), (1, 1)])
def test_any_flow_equals_the_definition(size):
    torch.manual_seed(0)
    features = torch.randn(2, 3, *size, dtype=torch.float64)
    flow = 2 * torch.randn(2, 2, *size, dtype=torch.float64)
    assert torch.allclose(warp(features, flow), by_hand(features, flow), atol=1e-12)


@pytest.mark.usefixtures("_both_ways")
def test_a_map_of_one_column_fades_out_on_both_sides():
    features = torch.full((1, 1, 1, 1), 8.0)
    values = [warp(features, constant_flow(features, x, 0)).item() for x in (-1, -0.25, 0, 0.5, 2)]
    assert values == [0, 6, 8, 4, 0]


def test_gradients_of_features_and_flow():
    torch.manual_seed(0)
    features = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    # Away from whole pixels, where a bilinear kernel has a kink.
    flow = torch.randint(-3, 3, (2, 2, 5, 6)).double() + 0.1 + 0.8 * torch.rand(2, 2, 5, 6).double()
    assert torch.autograd.gradcheck(warp, (features, flow.requires_grad_()))


@pytest.mark.parametrize("width", [1, 2, 7])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3.4e38])
def test_one_bad_vector_leaves_all_others_alone(value, width):
    torch.manual_seed(0)
    features = torch.randn(1, 3, 6, width)
    clean = torch.randn(1, 2, 6, width)
    bad = clean.clone()
    bad[0, 0, 2, width // 2] = value

    def run(flow):
        inputs = features.clone().requires_grad_(), flow.clone().requires_grad_()
        out = warp(*inputs)
        kept = torch.ones(6, width, dtype=torch.bool)
        kept[2, width // 2] = False
        out[..., kept].square().sum().backward(retain_graph=True)
        before = [tensor.grad.clone() for tensor in inputs]
        out[..., 2, width // 2].sum().backward()
        return out.detach(), before, inputs[1].grad

    out, gradients, after = run(bad)
    expected, expected_gradients, _ = run(clean)
    assert (out[..., 2, width // 2] == 0).all()
    assert torch.isfinite(after).all()
    out[..., 2, width // 2] = expected[..., 2, width // 2]
    assert torch.equal(out, expected)
    assert all(map(torch.equal, gradients, expected_gradients))


@pytest.mark.usefixtures("_both_ways")
def test_bfloat16_features_are_sampled_at_float32_positions():
    # Column 100.25 rounds to 100 or 100.5 in bfloat16; a ramp would show it.
    ramp = torch.arange(128.0).expand(1, 1, 2, 128).bfloat16()
    flow = torch.full((1, 2, 2, 128), 0.25)
    flow[:, 1] = 0
    moved = warp(ramp, flow)
    assert moved.dtype == torch.bfloat16
    assert torch.equal(moved, warp(ramp.float(), flow).bfloat16())


@pytest.mark.usefixtures("_both_ways")
def test_autocast_changes_nothing():
    features, flow = torch.randn(1, 3, 9, 11), torch.randn(1, 2, 9, 11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = warp(features, flow)
    assert torch.equal(moved, warp(features, flow))


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_memory_format_is_kept(memory_format):
    features = torch.randn(2, 8, 5, 6).contiguous(memory_format=memory_format)
    moved = warp(features, torch.zeros(2, 2, 5, 6))
    assert moved.is_contiguous(memory_format=memory_format)


def test_a_flow_of_another_size_is_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"\(1, 2, 4, 4\).*\(1, 2, 8, 8\).*flow_at_level"):
        warp(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 4, 4))


def test_flow_at_a_level_points_to_the_same_place():
    flow = torch.empty(1, 2, 64, 96)
    flow[:, 0], flow[:, 1] = 32, -16
    small = flow_at_level(flow, 1, (16, 8), (4, 12))
    assert small.shape == (1, 2, 4, 12)
    assert torch.allclose(small[:, 0], torch.tensor(4.0))
    assert torch.allclose(small[:, 1], torch.tensor(-1.0))
    assert torch.equal(flow_at_level(flow, 1, 1, (64, 96)), flow)


@pytest.mark.parametrize(
    ("stride", "new", "size"),
    [
        (16, 8, (75, 125)),
        (16, 14, (43, 72)),
        (16, 32, (19, 32)),
        (2, 16, (38, 63)),
        (16, 16, (38, 63)),
        (16, (7.5, 6.25), (80, 160)),  # of an image that the network resizes
    ],
)
def test_resampled_pixels_keep_their_place_in_the_image(stride, new, size):
    """The map tells the place of each of its pixels; at another stride it tells theirs."""
    height, width = (-(-side // stride) for side in (600, 1000))
    columns = (torch.arange(width) + 0.5) * stride - 0.5
    rows = (torch.arange(height) + 0.5) * stride - 0.5
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]
    found = resample(places, stride, new, size)
    assert found.shape == (1, 2, *size)
    steps = new if isinstance(new, tuple) else (new, new)
    for channel, (step, count) in enumerate(((steps[1], size[1]), (steps[0], size[0]))):
        wanted = (torch.arange(count) + 0.5) * step - 0.5
        inner = found[0, channel].mean(0) if channel == 0 else found[0, channel].mean(1)
        kept = (wanted > stride / 2) & (wanted < (1000, 600)[channel] - 1.5 * stride)
        torch.testing.assert_close(inner[kept], wanted[kept], atol=1e-3, rtol=0)
        if step <= stride:  # beyond the first and the last centre of the map, what is there
            known = (columns, rows)[channel]
            wanted = wanted.clamp(known[0], known[-1])
            torch.testing.assert_close(inner, wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("new", "size"), [(8, (75, 125)), (14, (43, 72)), (16, (38, 63)), (32, (19, 32))]
)
def test_flow_is_divided_by_the_stride_and_not_by_the_ratio_of_the_sizes(new, size):
    """Those are rounded up: 125 / 63 of a frame of 1000 pixels is not 2."""
    field = torch.empty(1, 2, 38, 63)
    field[:, 0], field[:, 1] = 112, -56
    flow = flow_at_level(field, 16, new, size)
    assert flow.shape == (1, 2, *size)
    torch.testing.assert_close(flow[:, 0], torch.full((1, *size), 112 / new), rtol=1e-6, atol=0)
    torch.testing.assert_close(flow[:, 1], torch.full((1, *size), -56 / new), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("new", "size"), [(8, (75, 125)), (14, (43, 72))])
def test_a_flow_that_points_everywhere_to_one_place_does_so_at_each_stride(new, size):
    """Place and length agree: each cell samples the cell in which pixel (500, 300) lies."""
    columns = (torch.arange(63) + 0.5) * 16 - 0.5
    rows = (torch.arange(38) + 0.5) * 16 - 0.5
    field = torch.stack(torch.meshgrid(500 - columns, 300 - rows, indexing="xy"))[None]
    flow = flow_at_level(field, 16, new, size)[0]
    found = torch.arange(size[1]) + flow[0], torch.arange(size[0])[:, None] + flow[1]
    for place, target in zip(found, (500, 300), strict=True):
        inside = place[2:-2, 2:-2]
        # cell j has its centre at pixel (j + 0.5) * stride - 0.5
        torch.testing.assert_close(
            inside, torch.full_like(inside, (target + 0.5) / new - 0.5), rtol=0, atol=1e-4
        )


def test_a_cell_cut_by_the_border_has_the_mean_of_what_it_has():
    map_ = torch.arange(10.0).view(1, 1, 1, 10).expand(1, 1, 8, 10)
    assert resample(map_, 2, 16, (1, 2))[0, 0, 0].tolist() == [3.5, 8.5]
    flow = flow_at_level(32 * map_.expand(1, 2, 8, 10), 2, 16, (1, 2))
    assert flow[0, :, 0].tolist() == [[7, 17], [7, 17]]


@pytest.mark.parametrize("new", [8, 16, (8, 16), 4.5])
def test_resampling_has_gradients(new):
    map_ = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: resample(m, 8, new, (2, 3)), map_)


def test_a_map_that_covers_less_than_the_features_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 4\) pixels at stride 16 for features of 9 x 4: it"):
        resample(torch.zeros(1, 2, 4, 4), 16, 16, (9, 4))


def test_features_of_a_padded_frame_have_the_flow_of_its_border_beside_it():
    map_ = torch.arange(4.0).view(1, 1, 1, 4)
    assert resample(map_, 16, 16, (2, 6))[0, 0].tolist() == [[0.0, 1, 2, 3, 3, 3]] * 2


@pytest.mark.usefixtures("_both_ways")
def test_warp_compiles_in_one_graph():
    features, flow = torch.randn(1, 3, 9, 11), torch.randn(1, 2, 9, 11)
    compiled = torch.compile(warp, fullgraph=True, backend="eager")
    assert torch.equal(compiled(features, flow), warp(features, flow))


def test_both_methods_take_the_same_samples():
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(3, 40, 13, 21, generator=generator)
    flow = 9 * torch.randn(3, 2, 13, 21, generator=generator)
    flow[0, 0, 2, 3], flow[1, 1, 4, 5], flow[2, 0, 6, 7] = torch.nan, torch.inf, 1e30
    expected = warp(features, flow)
    assert expected[0, :, 2, 3].abs().max() == 0
    found = module.warp(features, flow, "gather")
    one_key = module.warp(features[:1].expand(3, -1, -1, -1), flow, "gather")
    rough = module.warp(features.bfloat16(), flow, "gather")
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(one_key[0], expected[0], rtol=0, atol=2e-5)
    torch.testing.assert_close(one_key[2], warp(features[:1], flow[2:])[0], rtol=0, atol=2e-5)
    for layout in (torch.channels_last, torch.contiguous_format):
        shared = features[:1].contiguous(memory_format=layout).expand(3, -1, -1, -1)
        of_one = [module.warp(shared, flow, method) for method in METHODS]
        torch.testing.assert_close(*of_one, rtol=0, atol=2e-5)
    exact = [module.warp(features.double(), flow.double(), method) for method in METHODS]
    torch.testing.assert_close(*exact, rtol=0, atol=1e-12)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), expected, rtol=0, atol=0.05)
