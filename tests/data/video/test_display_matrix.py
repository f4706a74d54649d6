"""A frame is shown as the display matrix says, and as ffmpeg does: rotated and mirrored."""

import math

import av
import numpy as np
import pytest
from av.filter import Graph
from clips import HEIGHT, WIDTH, number_of, write_clip

from dff.data.video.sources import open_video

ONE, ANCHOR = 1 << 16, 1 << 30


def matrix(a: float, b: float, c: float, d: float) -> list[int]:
    """A display matrix: a stored point (x, y) is shown at (a x + c y, b x + d y)."""
    a, b, c, d = (round(value * ONE) for value in (a, b, c, d))
    return [a, b, 0, c, d, 0, 0, 0, ANCHOR]


EIGHT = {
    "upright": matrix(1, 0, 0, 1),
    "mirrored left to right": matrix(-1, 0, 0, 1),
    "mirrored top to bottom": matrix(1, 0, 0, -1),
    "turned by 180": matrix(-1, 0, 0, -1),
    "turned to the right": matrix(0, 1, -1, 0),
    "turned to the left": matrix(0, -1, 1, 0),
    "transposed": matrix(0, 1, 1, 0),
    "transposed along the other diagonal": matrix(0, -1, -1, 0),
}
SHOWN = {
    "upright": lambda picture: picture,
    "mirrored left to right": lambda picture: picture[:, ::-1],
    "mirrored top to bottom": lambda picture: picture[::-1],
    "turned by 180": lambda picture: picture[::-1, ::-1],
    "turned to the right": lambda picture: np.rot90(picture, -1),
    "turned to the left": lambda picture: np.rot90(picture, 1),
    "transposed": lambda picture: picture.swapaxes(0, 1),
    "transposed along the other diagonal": lambda picture: np.rot90(picture, 2).swapaxes(0, 1),
}


def stored(path) -> tuple[list[np.ndarray], list[int] | None]:
    """Frames as they are stored, and their display matrix."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        data = frames[0].side_data.get("DISPLAYMATRIX")
        numbers = None if data is None else np.frombuffer(data, np.int32).tolist()
        return [frame.to_ndarray(format="rgb24") for frame in frames], numbers


def as_ffmpeg_shows(picture: np.ndarray, numbers: list[int] | None) -> np.ndarray:
    """The filters that ffmpeg inserts before its own, by the rules of its `-autorotate`."""
    if numbers is None:
        return picture
    a, b, _, c, d, *_ = numbers
    angle = round(math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))) % 360
    filters = {
        0: ["vflip"] if d < 0 else [],
        90: [("transpose", "cclock_flip" if c > 0 else "clock")],
        180: ["hflip"] * (a < 0) + ["vflip"] * (d < 0),
        270: [("transpose", "clock_flip" if c < 0 else "cclock")],
    }[angle]
    graph = Graph()
    height, width = picture.shape[:2]
    nodes = [graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/25")]
    for name in filters:
        nodes.append(graph.add(name) if isinstance(name, str) else graph.add(*name))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame.pts = 0
    graph.push(frame)
    return graph.pull().to_ndarray(format="rgb24")


@pytest.mark.parametrize("way", EIGHT)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_frame_is_shown_as_its_matrix_says_and_as_ffmpeg_does(suffix, way, tmp_path):
    path = write_clip(tmp_path / f"clip.{suffix}", count=4, matrix=EIGHT[way])
    plain, numbers = stored(path)
    assert numbers is None or np.sign(numbers).tolist() == np.sign(EIGHT[way]).tolist()
    for backend in ("pyav", "decord"):
        video = open_video(path, backend)
        frames = list(video)
        for frame, picture in zip(frames, plain, strict=True):
            assert (frame == SHOWN[way](picture)).all()
            assert (frame == as_ffmpeg_shows(picture, numbers)).all()
        assert video.size == frames[0].shape[:2]
        assert (video.read([3, 0]) == np.stack([frames[3], frames[0]])).all()


@pytest.mark.parametrize("way", EIGHT)
def test_what_matroska_keeps_of_a_matrix_is_shown_as_ffmpeg_does(way, tmp_path):
    path = write_clip(tmp_path / "clip.mkv", count=2, matrix=EIGHT[way])
    plain, numbers = stored(path)
    assert (next(iter(open_video(path))) == as_ffmpeg_shows(plain[0], numbers)).all()


@pytest.mark.parametrize(("degrees", "turns"), [(3, 0), (-40, 0), (50, 1), (133, 1), (200, 2)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_an_odd_angle_gives_the_nearest_quarter_turn(degrees, turns, mirrored, tmp_path):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    sign = -1 if mirrored else 1
    # mirrored left to right first, then turned to the left
    path = write_clip(
        tmp_path / "clip.mp4", count=2, matrix=matrix(sign * cos, sign * -sin, sin, cos)
    )
    (picture, _), _ = stored(path)
    if mirrored:
        picture = picture[:, ::-1]
    video = open_video(path)
    assert (next(iter(video)) == np.rot90(picture, turns)).all()
    assert video.size == ((WIDTH, HEIGHT) if turns % 2 else (HEIGHT, WIDTH))


def test_a_mirrored_number_reads_right_again(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", matrix=EIGHT["mirrored left to right"])
    assert [number_of(frame[:, ::-1]) for frame in open_video(path)] == list(range(60))
