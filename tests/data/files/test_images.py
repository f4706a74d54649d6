import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from dff.data.files.images import read_image, read_labels, write_png
from dff.data.samples import SampleError


def picture(height=40, width=60):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def palette_png(indices, depth=8):
    """A PNG of colour type 3, as VOC and DAVIS ship masks; cv2 cannot write one."""
    height, width = indices.shape
    if depth == 8:
        rows = [bytes(row) for row in indices]
    else:
        bits = np.unpackbits(indices[..., None], axis=2)[..., 8 - depth :].reshape(height, -1)
        rows = [np.packbits(row).tobytes() for row in bits]
    palette = bytes(np.random.default_rng(1).integers(0, 256, 3 * 2**depth, dtype=np.uint8))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_written_picture_is_read_as_it_was(tmp_path):
    write_png(tmp_path / "a.png", picture())
    assert np.array_equal(read_image(tmp_path / "a.png"), picture())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_written_labels_are_read_as_they_were(tmp_path, dtype):
    labels = np.arange(60 * 5, dtype=np.uint16).reshape(5, 60).astype(dtype)
    write_png(tmp_path / "a.png", labels)
    assert read_labels(tmp_path / "a.png").dtype == dtype
    assert np.array_equal(read_labels(tmp_path / "a.png"), labels)


def test_channels_are_red_green_blue(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    for name in ("red.png", "red.jpg"):
        cv2.imwrite(str(tmp_path / name), red[..., ::-1])
        assert read_image(tmp_path / name)[4, 4, 0] > 250
        assert read_image(tmp_path / name)[4, 4, 2] < 5


@pytest.mark.parametrize("shape, dtype", [((8, 9), np.uint8), ((8, 9, 4), np.uint8)])
def test_grey_and_transparent_pictures_become_rgb(tmp_path, shape, dtype):
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 77, dtype))
    assert np.array_equal(read_image(tmp_path / "a.png"), np.full((8, 9, 3), 77))


def test_16_bit_pictures_become_8_bit(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 9, 3), 77 * 257, np.uint16))
    assert np.array_equal(read_image(tmp_path / "a.png"), np.full((8, 9, 3), 77))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_png_gives_its_indices_not_its_colours(tmp_path, depth):
    indices = np.random.default_rng(0).integers(0, 2**depth, (7, 16), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(palette_png(indices, depth))
    assert np.array_equal(read_labels(tmp_path / "a.png"), indices)


def test_a_1_bit_grey_mask_has_classes_0_and_1(tmp_path):
    mask = np.random.default_rng(0).integers(0, 2, (7, 16), dtype=np.uint8)
    flags = [cv2.IMWRITE_PNG_BILEVEL, 1]
    cv2.imwrite(str(tmp_path / "a.png"), mask * 255, flags)
    assert np.array_equal(read_labels(tmp_path / "a.png"), mask)


@pytest.mark.parametrize("read", [read_image, read_labels])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"gone\.png is missing.*copy it again"):
        read(tmp_path / "gone.png")


@pytest.mark.parametrize("read", [read_image, read_labels])
def test_an_empty_file_is_named(tmp_path, read):
    (tmp_path / "a.png").touch()
    with pytest.raises(SampleError, match=r"a\.png is empty \(0 bytes\): copy it again"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, read_labels])
def test_a_text_file_is_not_an_image(tmp_path, read):
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SampleError, match=r"a\.png is not an image \(it begins with b'version "):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("part", [0.05, 0.3, 0.7, 0.99, "one byte"])
def test_half_a_file_is_an_error_and_libpng_is_silent(tmp_path, capfd, suffix, part):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), picture())
    data = path.read_bytes()
    path.write_bytes(data[: -1 if part == "one byte" else int(len(data) * part)])
    with pytest.raises(SampleError, match=rf"a{suffix} is cut short"):
        read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_whose_tail_is_zeros_is_an_error(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), picture())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    with pytest.raises(SampleError, match=r"cut short|damaged"):
        read_image(path)


def test_one_wrong_bit_in_a_png_is_an_error(tmp_path, capfd):
    path = tmp_path / "a.png"
    write_png(path, picture())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for read in (read_image, read_labels):
        with pytest.raises(SampleError, match=r"a\.png is damaged \(PNG check sum"):
            read(path)
    assert capfd.readouterr().err == ""


def test_a_colour_picture_is_no_label_file(tmp_path):
    write_png(tmp_path / "a.png", picture())
    with pytest.raises(SampleError, match=r"several channels.*PNG with one channel"):
        read_labels(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.bmp"), picture())
    with pytest.raises(SampleError, match="several channels"):
        read_labels(tmp_path / "a.bmp")


def test_a_jpeg_is_no_label_file(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), picture()[..., 0])
    with pytest.raises(SampleError, match=r"JPEG, which blurs class numbers: save.* as PNG"):
        read_labels(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)],
    ids=["float", "four channels", "16 bit colour"],
)
def test_what_is_no_picture_is_not_written(tmp_path, array):
    with pytest.raises(ValueError, match=r"cannot write .*a\.png: want"):
        write_png(tmp_path / "a.png", array)
    assert os.listdir(tmp_path) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", np.zeros((4, 4), np.uint8))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_png(tmp_path / "a.png", np.ones((4, 4), np.uint8))
    assert os.listdir(tmp_path) == ["a.png"]
    assert not read_labels(tmp_path / "a.png").any()
