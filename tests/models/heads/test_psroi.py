import math

import pytest
import torch

from dff.models.heads.detection.psroi import pool_regions, vote


def drawn_regions(number, height, width, seed=0):
    """Regions in halves of pixels, some beyond the map, some inverted."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(number, 4, generator=generator) * 1.4 - 0.2
    corners[: number * 3 // 4, 2:] = corners[: number * 3 // 4, :2] + 0.4
    pixels = corners * torch.tensor([width, height, width, height]) * 16
    return (pixels * 2).round() / 2


def rounded(x):
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def slow_pooling(maps, regions, owners, bins):
    """The loops of the official operator, word by word, in fp32."""
    channels, height, width = maps.shape[1:]
    outputs = channels // bins**2
    result = torch.zeros(len(regions), outputs, bins, bins)

    def edges(first, last, index, limit):
        start = torch.tensor(rounded(first) / 16)
        size = torch.tensor((rounded(last) + 1) / 16) - start
        step = size.clamp(min=0.1) / bins
        begin, end = (index * step + start).floor(), ((index + 1) * step + start).ceil()
        return (int(edge.clamp(0, limit)) for edge in (begin, end))

    for r, (x1, y1, x2, y2) in enumerate(regions.tolist()):
        for i in range(bins):
            top, bottom = edges(y1, y2, i, height)
            for j in range(bins):
                left, right = edges(x1, x2, j, width)
                for k in range(outputs):
                    cells = maps[owners[r], (k * bins + i) * bins + j, top:bottom, left:right]
                    if cells.numel():
                        result[r, k, i, j] = cells.mean()
    return result


def owners(number):
    return torch.zeros(number, dtype=torch.int64)


@pytest.mark.parametrize("bins", [3, 7])
def test_pooling_is_that_of_plain_loops(bins):
    torch.manual_seed(0)
    maps = torch.randn(2, 2 * bins**2, 6, 9)
    regions, owners = drawn_regions(40, 6, 9), torch.arange(40) % 2
    pooled = pool_regions(maps, regions, owners, bins=bins)
    torch.testing.assert_close(pooled, slow_pooling(maps, regions, owners, bins))
    votes = vote(maps, regions, owners, bins=bins)
    torch.testing.assert_close(votes, pooled.mean((2, 3)))


def test_a_constant_map_gives_its_constant():
    regions = torch.tensor([[0.0, 0, 79, 79], [30.0, 30, 30, 30]])
    pooled = pool_regions(torch.full((1, 49, 5, 5), 3.0), regions, owners(2))
    assert torch.equal(pooled, torch.full((2, 1, 7, 7), 3.0))


def test_each_bin_reads_its_own_map():
    maps = torch.arange(2 * 49.0).view(1, 98, 1, 1).expand(1, 98, 8, 8)
    pooled = pool_regions(maps, torch.tensor([[0.0, 0, 127, 127]]), owners(1))
    assert torch.equal(pooled, torch.arange(98.0).view(1, 2, 7, 7))


def test_each_region_reads_its_own_image():
    maps = torch.stack((torch.zeros(49, 4, 4), torch.ones(49, 4, 4)))
    regions = torch.tensor([[0.0, 0, 63, 63]]).expand(3, 4)
    assert vote(maps, regions, torch.tensor([1, 0, 1])).flatten().tolist() == [1, 0, 1]


def test_a_region_beyond_the_map_is_zero():
    regions = torch.tensor([[-200.0, 0, -100, 63], [300.0, 0, 400, 63]])
    assert vote(torch.ones(1, 49, 4, 4), regions, owners(2)).abs().max() == 0


def test_a_half_rounds_away_from_zero():
    """0.5 is 1, so the first of two bins ends past cell 0; to the even side it would end there."""
    maps = torch.zeros(1, 4, 2, 2)
    maps[:, :, 1] = 1
    pooled = pool_regions(maps, torch.tensor([[0.0, 0.5, 31, 31]]), owners(1), bins=2)
    assert pooled[0, 0].tolist() == [[0.5, 0.5], [1, 1]]


def test_gradients():
    torch.manual_seed(0)
    maps = torch.randn(2, 2 * 9, 4, 5, dtype=torch.float64, requires_grad=True)
    regions, images = drawn_regions(8, 4, 5), torch.arange(8) % 2
    for pool in (pool_regions, vote):
        assert torch.autograd.gradcheck(lambda m, p=pool: p(m, regions, images, bins=3), maps)


def test_padding_is_not_read():
    """Whatever stands beyond `cells`; also where a last edge in fp32 lies a hair over a cell."""
    torch.manual_seed(0)
    for rows, columns in ((6, 10), (5, 7), (3, 63)):
        maps = torch.randn(1, 49, rows, columns)
        padded = torch.full((1, 49, 14, 66), 1e6)
        padded[..., :rows, :columns] = maps
        regions = drawn_regions(200, rows, columns)
        regions[:100, 0] = torch.arange(100.0)
        regions[:100, 2:] = torch.tensor([16 * columns - 1, 16 * rows - 1])
        cells = torch.tensor([[rows, columns]])
        seen = pool_regions(padded, regions, owners(200), cells=cells)
        torch.testing.assert_close(seen, pool_regions(maps, regions, owners(200)))


def test_half_precision_is_summed_in_full():
    torch.manual_seed(0)
    maps = (100 + torch.randn(1, 49, 20, 30)).bfloat16()
    regions = drawn_regions(20, 20, 30)
    pooled = pool_regions(maps, regions, owners(20))
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, pool_regions(maps.float(), regions, owners(20)))


def test_regions_that_are_no_numbers_do_not_reach_beyond_memory():
    regions = torch.tensor([[math.nan] * 4, [0.0, 0, math.inf, math.nan]])
    assert vote(torch.ones(1, 49, 4, 4), regions, owners(2)).isfinite().all()


def test_another_number_of_maps_is_refused():
    with pytest.raises(ValueError, match="50 position-sensitive maps for 7x7 bins: wanted a mult"):
        vote(torch.ones(1, 50, 4, 4), torch.zeros(1, 4), owners(1))
