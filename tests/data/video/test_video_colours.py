"""Colours and the shape of pixels, from a file and into one."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dff.data.video.sources import open_video
from dff.data.video.writer import VideoWriter

COLOURS = [[200, 40, 90], [20, 180, 40], [30, 60, 220], [128, 128, 128], [255, 255, 255]]
COLOURS += [[0, 0, 0], [240, 220, 30], [100, 60, 40]]
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}  # of red and blue, by the number of the matrix
SIZES = [(480, 640), (576, 720), (720, 1280), (1080, 1920), (544, 1280)]


def stripes(size) -> np.ndarray:
    """Eight stripes of known colours."""
    picture = np.zeros((*size, 3), np.uint8)
    for stripe, colour in zip(np.array_split(picture, 8, axis=1), COLOURS, strict=True):
        stripe[:] = colour
    return picture


def in_the_middle(picture: np.ndarray) -> np.ndarray:
    """The colour in the middle of each stripe, (8, 3)."""
    width = picture.shape[1]
    return picture[picture.shape[0] // 2, [width * (2 * i + 1) // 16 for i in range(8)]]


def to_yuv(rgb: np.ndarray, matrix: int, full: bool) -> np.ndarray:
    """RGB -> Y, U, V as the standards define them, each 0 to 255."""
    (red, blue), colour = WEIGHTS[matrix], rgb / 255
    y = colour @ [red, 1 - red - blue, blue]
    u, v = (colour[..., 2] - y) / (2 - 2 * blue), (colour[..., 0] - y) / (2 - 2 * red)
    planes = [255 * y, 128 + 255 * u, 128 + 255 * v]
    limited = [16 + 219 * y, 128 + 224 * u, 128 + 224 * v]
    return np.stack(planes if full else limited, -1).round().clip(0, 255).astype(np.uint8)


def to_rgb(yuv: np.ndarray, matrix: int) -> np.ndarray:
    red, blue = WEIGHTS[matrix]
    y, u, v = np.moveaxis((yuv - [16.0, 128, 128]) / [219, 224, 224], -1, 0)
    r, b = y + (2 - 2 * red) * v, y + (2 - 2 * blue) * u
    return 255 * np.stack([r, (y - red * r - blue * b) / (1 - red - blue), b], -1)


@pytest.mark.parametrize("size", SIZES)
def test_a_written_colour_is_the_same_by_the_matrix_that_the_file_names(size, tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25, size, crf=8) as writer:
        for _ in range(2):
            writer.write(stripes(size))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        matrix = 1 if size[0] >= 720 or size[1] >= 1280 else 6
        tags = (context.colorspace, context.color_primaries, context.color_trc)
        assert (*tags, context.color_range) == (matrix, matrix, matrix, 1)
        frame = list(container.decode(video=0))[-1]
    planes = [np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width] for p in frame.planes]
    yuv = np.stack([planes[0], *(p.repeat(2, 0).repeat(2, 1) for p in planes[1:])], -1)
    assert np.abs(in_the_middle(to_rgb(yuv, matrix)) - COLOURS).max() < 3
    assert np.abs(in_the_middle(open_video(path).read([1])[0]) - np.array(COLOURS)).max() <= 4


def write_yuv(path, size, matrix: int, tag: int, full: bool = False) -> None:
    """Writes stripes of known colours, lossless 4:4:4, converted here and not by a library."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv444p"
        stream.codec_context.colorspace = tag
        stream.codec_context.color_range = 2 if full else 1
        yuv = to_yuv(stripes(size), matrix, full)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.moveaxis(yuv, -1, 0)), "yuv444p")
        frame.color_range = 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


UNNAMED, RESERVED = 2, 3


@pytest.mark.parametrize(
    ("size", "matrix", "tag", "full"),
    [
        ((480, 640), 6, UNNAMED, False),
        ((576, 720), 6, UNNAMED, False),
        ((720, 1280), 1, UNNAMED, False),
        ((1280, 720), 1, UNNAMED, False),
        ((1080, 1920), 1, UNNAMED, False),
        ((480, 640), 1, 1, False),
        ((720, 1280), 6, 6, False),
        ((480, 640), 1, 1, True),
        ((480, 640), 6, 6, True),
        ((720, 1280), 1, UNNAMED, True),
        ((720, 1280), 1, RESERVED, False),  # today's swscale refuses it
        ((480, 640), 6, RESERVED, False),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "decord"])
def test_a_file_is_read_by_its_own_matrix_or_by_that_of_its_size(
    size, matrix, tag, full, backend, tmp_path
):
    path = tmp_path / "a.mp4"
    write_yuv(path, size, matrix, tag, full)
    video = open_video(path, backend)
    (frame,) = video
    assert np.abs(in_the_middle(frame) - np.array(COLOURS)).max() <= 3
    assert (video.read([0])[0] == frame).all()


@pytest.mark.parametrize("aspect", [Fraction(8, 9), Fraction(64, 45), Fraction(4, 3), Fraction(1)])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_the_shape_of_pixels_is_kept(aspect, codec, tmp_path):
    path = tmp_path / "a.mp4"
    crf = 18 if codec == "libx264" else None
    with VideoWriter(path, 25, (64, 96), codec, crf, pixel_aspect=aspect) as writer:
        writer.write(np.zeros((64, 96, 3), np.uint8))
    video = open_video(path)
    assert (video.pixel_aspect, video.size) == (aspect, (64, 96))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        next(container.decode(stream))
        assert stream.sample_aspect_ratio == stream.codec_context.sample_aspect_ratio == aspect


@pytest.mark.parametrize(("turn", "upright"), [(90, Fraction(9, 8)), (180, Fraction(8, 9))])
def test_a_quarter_turn_turns_the_pixels_too(turn, upright, tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(8, 9)
        stream.set_display_rotation(turn)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8))))
        container.mux(stream.encode(None))
    assert open_video(tmp_path / "a.mp4").pixel_aspect == upright
