"""Clips in which each frame shows its own number, so that any mistake in order shows."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dff.data.video.writer import VideoWriter, same_scheduling

HEIGHT, WIDTH, BITS, BLOCK = 64, 96, 12, 16
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8"}
FRAMES = 60


def draw(number: int, height: int = HEIGHT, width: int = WIDTH, noise: int = 0) -> np.ndarray:
    """A frame whose number stands in it, a bit to a block, least significant at the top left.

    Noise around it gives each frame some weight in a file.
    """
    grey = np.random.default_rng(number).integers(0, noise + 1, (height, width, 1))
    frame = np.repeat(grey.astype(np.uint8) + 96, 3, axis=2)
    for bit in range(BITS):
        y, x = bit // 6 * BLOCK, bit % 6 * BLOCK
        frame[y : y + BLOCK, x : x + BLOCK] = 235 if number >> bit & 1 else 20
    return frame


def write_moving_picture(path, count):
    """A video of 96x128 pixels whose picture moves to the left."""
    wide = np.random.default_rng(0).integers(0, 255, (8, 30, 3), np.uint8)
    wide = wide.repeat(12, 0).repeat(12, 1)
    with VideoWriter(path, 10, (96, 128)) as writer:
        for number in range(count):
            writer.write(wide[:, 6 * number : 6 * number + 128])
    return path


def number_of(frame: np.ndarray) -> int:
    blocks = frame[: 2 * BLOCK, : 6 * BLOCK].reshape(2, BLOCK, 6, BLOCK, 3).mean((1, 3, 4))
    return sum(1 << bit for bit in range(BITS) if blocks.flat[bit] > 128)


def write_clip(
    path,
    codec="libx264",
    options=None,
    count=FRAMES,
    times=None,
    rotation=0,
    matrix=None,
    muxing=None,
    noise=0,
    pictures=None,
):
    """Writes numbered frames, or pictures; `times` are milliseconds, 25 per second without.

    `matrix` is a display matrix of nine numbers, `muxing` the options of the container.
    """
    if pictures is None:
        pictures = [draw(number, noise=noise) for number in range(count)]
    with av.open(str(path), "w", container_options=muxing or {}) as container:
        try:
            stream = container.add_stream(codec, rate=25, options=options or {})
        except Exception as error:
            pytest.skip(f"this PyAV has no encoder {codec}: {error}")
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = PIXELS.get(codec, "yuv420p")
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix:
            stream.set_display_matrix(matrix)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        with same_scheduling():  # of the tests that follow
            container.start_encoding()
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
