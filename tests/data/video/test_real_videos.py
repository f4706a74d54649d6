import av
import pytest
from small import DATA

from dff.data.video.sources import VideoError, open_video

# The number of frames is that of the packets, which are counted without decoding, but for the
# damaged file: 28 of its 50 decode.
REAL = {
    "decord__corrupted.mp4": (720, 1280, 28, "damaged after 28 good frames"),
    "decord__flipping_a_pancake.mkv": (240, 426, 310, None),
    "decord__video_0.mov": (320, 568, 3, None),
    "decord__video_270.mov": (568, 320, 3, None),
    "decord__video_90.mov": (568, 320, 3, None),
    "imageio__newtonscradle.gif": (150, 200, 36, None),
    "imageio__realshort.mp4": (240, 320, 36, None),
    "intel__car-detection.mp4": (432, 768, 377, None),
    "mmtracking__demo.mp4": (1080, 1920, 8, None),
    "torchcodec__av1_video.mkv": (360, 640, 125, None),
    "torchcodec__bt709_full_range.mp4": (720, 1280, 30, None),
    "torchcodec__h265_video.mp4": (128, 128, 10, None),
    "torchcodec__nasa_13013.mp4": (
        270,
        480,
        390,
        None,
    ),  # of two streams, the one that players show
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_give_their_frames(name):
    path = DATA / "videos" / name
    if not path.exists():
        pytest.skip(f"no {path}: set DFF_SHARED")
    height, width, frames, error = REAL[name]
    video, count, told = open_video(path), 0, None
    try:
        for frame in video:
            assert frame.shape == (height, width, 3)
            count += 1
    except VideoError as damage:
        told = str(damage)
    with av.open(str(path)) as container:
        packets = sum(
            packet.size > 0 for packet in container.demux(container.streams.best("video"))
        )
    assert (count, packets) == (frames, frames if error is None else 50)
    assert (told is None) if error is None else (error in told)


def test_real_sound_has_no_pictures():
    path = DATA / "videos" / "torchcodec__nasa_13013.mp4.audio.mp3"
    if not path.exists():
        pytest.skip(f"no {path}: set DFF_SHARED")
    with pytest.raises(VideoError, match="no pictures"):
        open_video(path)
