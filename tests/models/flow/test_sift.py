import numpy as np
import pytest

from dff.models.flow.sift_flow.descriptors import LENGTH, dense_sift, orientation_bands


def edge(angle, size=33):
    """Dark to bright along `angle` in degrees, the border through the middle."""
    y, x = np.mgrid[:size, :size] - size // 2
    along = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    return (100 * (along > 1e-6)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (1, 1)])
def test_a_constant_picture_has_no_texture(shape):
    descriptors = dense_sift(np.full(shape, 77, np.uint8))
    assert descriptors.shape == (*shape[:2], LENGTH)
    assert descriptors.max() == 0


@pytest.mark.parametrize("bin_", range(8))
def test_an_edge_is_in_the_bin_of_its_direction(bin_):
    centre = dense_sift(edge(45 * bin_))[16, 16].reshape(16, 8).astype(float)
    by_orientation = (centre**2).sum(0)
    assert by_orientation.argmax() == bin_
    assert by_orientation[bin_] > 0.9 * by_orientation.sum()
    assert by_orientation[(bin_ + 4) % 8] == 0


def test_a_descriptor_knows_on_which_side_the_edge_is():
    """A vertical edge 4 pixels to the right fills the right column of cells, all rows alike."""
    left = dense_sift(edge(0))[16, 12].reshape(4, 4, 8)[..., 0]
    assert (left[:, 3] > 5 * left[:, :2].max()).all()
    right = dense_sift(edge(0))[16, 21].reshape(4, 4, 8)[..., 0]
    np.testing.assert_array_equal(left, right[:, ::-1])  # seen from the other side
    np.testing.assert_array_equal(left, np.broadcast_to(left[0], (4, 4)))


@pytest.mark.parametrize("cell_size", [1, 2, 3, 4])
def test_mirroring_the_picture_mirrors_the_descriptors(cell_size):
    picture = np.random.default_rng(0).integers(0, 256, (24, 31, 3), np.uint8)
    plain = dense_sift(picture, cell_size).reshape(24, 31, 4, 4, 8).astype(int)
    mirrored = dense_sift(picture[:, ::-1].copy(), cell_size).reshape(24, 31, 4, 4, 8)
    turned = (4 - np.arange(8)) % 8  # an angle a becomes 180 degrees - a
    np.testing.assert_allclose(mirrored[:, ::-1, :, ::-1][..., turned], plain, atol=1)


def test_the_norm_is_one_and_light_does_not_count():
    picture = np.random.default_rng(0).integers(0, 100, (24, 31), np.uint8)
    dark, light = dense_sift(picture), dense_sift(2 * picture + 50)
    norm = np.linalg.norm(dark.astype(float), axis=-1)
    assert norm.min() > 0.95 * 255 and norm.max() < 1.01 * 255
    assert np.abs(dark.astype(int) - light).max() <= 3
    flat = np.full((9, 9), 100, np.uint8)
    flat[4, 4] = 101  # noise of flat regions stays small
    assert np.linalg.norm(dense_sift(flat).astype(float), axis=-1).max() < 0.6 * 255


def test_the_strongest_colour_counts():
    colours = np.zeros((9, 9, 3), np.uint8)
    colours[:, 5:, 0], colours[5:, :, 2] = 100, 40
    grey = np.zeros((9, 9), np.uint8)
    grey[:, 5:] = 100
    np.testing.assert_array_equal(orientation_bands(colours)[1], orientation_bands(grey)[1])
    assert orientation_bands(colours)[5, 1].argmax() == 2


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\) and type float32 .*wanted \(H, W, 3\)"):
        dense_sift(np.zeros((4, 5), np.float32))
    with pytest.raises(ValueError, match="cells of 0 pixels: wanted 1 or more"):
        dense_sift(np.zeros((4, 5), np.uint8), 0)
