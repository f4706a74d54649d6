"""Videos that cannot be predicted, or not to their end: each fails by itself, among good ones."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from place import HEIGHT, WIDTH, cut, write_clip, write_frames, write_png


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no video " * 40)


def other_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(3).integers(0, 256, 5000, np.uint8).tobytes())


def without_index(path: Path) -> None:
    write_clip(path)
    path.write_bytes(path.read_bytes()[:1000])


def within_index(path: Path) -> None:
    write_clip(path)
    path.write_bytes(path.read_bytes()[:-500])


def sound_alone(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))


def no_frame(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        file.start_encoding()


def too_small(path: Path) -> None:
    write_clip(path, size=(48, 96))


def packet(path: Path, number: int, byte: bytes) -> None:
    """Overwrites one packet of a clip."""
    write_clip(path)
    with av.open(str(path)) as file:
        spoilt = [p for p in file.demux(video=0) if p.size][number]
    data = bytearray(path.read_bytes())
    data[spoilt.pos : spoilt.pos + spoilt.size] = byte * spoilt.size
    path.write_bytes(data)


def spoilt_packet(path: Path) -> None:
    packet(path, 8, b"\xff")


def zeroed_packet(path: Path) -> None:
    packet(path, 8, b"\0")


def cut_at(
    share: float, codec: str = "libx264", container: dict[str, str] | None = None, **options: str
) -> Callable[[Path], None]:
    """A clip of which the end has not come."""

    def make(path: Path) -> None:
        cut(write_clip(path, codec, 40, options=options, container=container), share)

    return make


def damaged_frame(path: Path) -> None:
    write_frames(path)
    cut(path / "000004.png", 0.6)


def frame_of_another_size(path: Path) -> None:
    write_frames(path)
    write_png(path / "000004.png", np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8))


def frame_that_is_text(path: Path) -> None:
    write_frames(path)
    (path / "000000.png").write_text("no image")


def empty_frame(path: Path) -> None:
    write_frames(path)
    (path / "000005.png").write_bytes(b"")


def half_a_jpeg(path: Path) -> None:
    path.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(path / f"{number}.jpg"), picture)
    cut(path / "3.jpg", 0.5)


FASTSTART = {"movflags": "faststart"}
FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}
X265 = {"x265-params": "log-level=none"}

BAD_VIDEOS: dict[str, tuple[Callable[[Path], None], str]] = {
    # name of the file: how it is made, what is said of it
    "empty.mp4": (empty, "is empty: copy or download it again"),
    "text.mp4": (text, "is not a video file .*: give a file"),
    "text.mkv": (text, "is not a video file .*: give a file"),
    "other_bytes.avi": (other_bytes, "is not a video file .*: give a file"),
    "without_index.mp4": (without_index, r"index \(moov\) is missing.*cut short: copy it again"),
    "within_index.mp4": (within_index, "cut short.*copy"),
    "sound_alone.mp4": (sound_alone, "has no pictures, only sound or data: give a file with"),
    "no_frame.mkv": (no_frame, "no frame|no pictures|is not a video|before the end of its first"),
    "too_small.mp4": (too_small, "frames of 48 x 96 pixels"),
    "spoilt_packet.mp4": (spoilt_packet, r"damaged after \d+ good frames.*copy the file again"),
    "zeroed_packet.mp4": (zeroed_packet, r"damaged after \d+ good frames.*copy the file again"),
    "cut_90.mp4": (cut_at(0.9, container=FASTSTART), r"cut short after \d+"),
    "cut_60.mp4": (cut_at(0.6, container=FASTSTART), r"cut short after \d+"),
    "cut_60.mov": (cut_at(0.6, "mpeg4", FASTSTART), r"cut short after \d+"),
    "cut_60_hevc.mp4": (cut_at(0.6, "libx265", FASTSTART, **X265), r"cut short after \d+"),
    "cut_60.mkv": (cut_at(0.6), r"cut short after \d+"),
    "cut_60.webm": (cut_at(0.6, "libvpx-vp9", **FAST_VP9), r"cut short after \d+"),
    "cut_60.avi": (cut_at(0.6, "mpeg4"), r"cut short after \d+"),
    "damaged_frame": (damaged_frame, r"frame 4 of .*000004\.png"),
    "frame_of_another_size": (frame_of_another_size, "keep frames of one size in a folder"),
    "frame_that_is_text": (frame_that_is_text, r"frame 0 of .*000000\.png"),
    "empty_frame": (empty_frame, r"frame 5 of .*000005\.png"),
    "half_a_jpeg": (half_a_jpeg, r"frame 3 of .*3\.jpg"),
}
"""All are predicted by one command, between two good ones."""
