import gc
import multiprocessing
import os
from fractions import Fraction

import av
import numpy as np
import pytest

from dff.data.video.file import VideoFile
from dff.data.video.sources import VideoError, open_video
from dff.data.video.writer import VideoWriter, join_videos


def draw(number: int, size=(48, 64)) -> np.ndarray:
    """A coloured slope that moves by one pixel a frame: smooth, so that coding keeps it."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = [np.sin((columns + number) / 9), np.cos(rows / 7), np.sin((rows - columns) / 11)]
    return (128 + 90 * np.stack(waves, -1)).astype(np.uint8)


def write(path, count=12, size=(48, 64), fps=25.0, **kwargs):
    with VideoWriter(path, fps, size, **kwargs) as writer:
        for number in range(count):
            writer.write(draw(number, size))
    return path


def files_in(folder) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder))


def test_what_was_written_is_read_back(tmp_path):
    video = open_video(write(tmp_path / "out" / "a.mp4"))
    frames = list(video)
    assert (len(frames), video.fps, video.size) == (12, 25.0, (48, 64))
    for number, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - draw(number)).mean() < 4
    # Each frame is nearer to itself than to the next one: order and number are kept.
    apart = np.abs(frames[4].astype(int) - draw(5)).mean()
    assert np.abs(frames[4].astype(int) - draw(4)).mean() < apart
    assert files_in(tmp_path / "out") == ["a.mp4"]


def test_every_player_can_show_it(tmp_path):
    with av.open(str(write(tmp_path / "a.mp4"))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63), (1, 1)])
def test_odd_sides_are_widened_by_their_last_pixel(size, tmp_path):
    frame = open_video(write(tmp_path / "odd.mp4", size=size)).read([3])[0]
    height, width = size
    assert frame.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(frame[:height, :width].astype(int) - draw(3, size)).mean() < 8
    added = frame[-1, :width].astype(int) - draw(3, size)[-1]
    assert np.abs(added).mean() < 16


@pytest.mark.parametrize(
    ("fps", "rate"), [(17, 17), (29.97, Fraction(2997, 100)), (30000 / 1001, Fraction(30000, 1001))]
)
def test_frame_rates_are_kept(fps, rate, tmp_path):
    with av.open(str(write(tmp_path / "a.mp4", fps=fps))) as container:
        assert container.streams.video[0].average_rate == rate


def test_a_smaller_crf_is_a_larger_file(tmp_path):
    fine = write(tmp_path / "fine.mp4", crf=10).stat().st_size
    assert fine > 1.5 * write(tmp_path / "coarse.mp4", crf=40).stat().st_size


def test_another_codec(tmp_path):
    assert len(list(open_video(write(tmp_path / "a.mp4", codec="mpeg4", crf=None)))) == 12


@pytest.mark.skipif("libsvtav1" not in av.codecs_available, reason="no AV1 encoder in this PyAV")
def test_no_encoder_makes_its_thread_a_real_time_one(tmp_path):
    """SVT-AV1 does, where the thread is root's: it then starves the rest of the machine."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    write(tmp_path / "a.mp4", count=2, size=(64, 96), codec="libsvtav1", crf=None)
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before


def test_while_it_is_written_the_target_is_not_there(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25, (48, 64)) as writer:
        writer.write(draw(0))
        (part,) = files_in(tmp_path)
        assert part.startswith(".a.") and part.endswith(".part.mp4")
    assert files_in(tmp_path) == ["a.mp4"]
    writer.close()
    assert files_in(tmp_path) == ["a.mp4"]


def test_an_interrupted_file_is_removed_and_the_old_one_stays(tmp_path):
    path = write(tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 25, (48, 64)) as writer:
        writer.write(draw(0))
        raise KeyboardInterrupt
    assert files_in(tmp_path) == ["a.mp4"]
    writer = VideoWriter(path, 25, (48, 64))
    writer.write(draw(0))
    writer.abort()
    writer.abort()
    assert files_in(tmp_path) == ["a.mp4"] and path.read_bytes() == before


def test_no_frame_is_no_video(tmp_path):
    with (
        pytest.raises(VideoError, match=r"no frame was written to .*a\.mp4"),
        VideoWriter(tmp_path / "a.mp4", 25, (48, 64)),
    ):
        pass
    assert files_in(tmp_path) == []


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    # Not by chmod: the superuser, as whom containers test, may write everywhere.
    monkeypatch.setattr(os, "access", lambda folder, mode: False)
    with pytest.raises(PermissionError, match=r"may not be written, so a\.mp4 cannot be: allow"):
        VideoWriter(tmp_path / "a.mp4", 25, (48, 64))
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"path": "a.avi"}, ValueError, r"a\.avi: videos are written as MP4, name it"),
        ({"fps": 0}, ValueError, "0 frames per second for .*: wanted a positive number"),
        ({"fps": float("nan")}, ValueError, "nan frames per second"),
        ({"fps": float("inf")}, ValueError, "inf frames per second"),
        ({"size": (0, 64)}, ValueError, r"size \(0, 64\) for .*: wanted \(height, width\)"),
        ({"codec": "h2645"}, VideoError, "with the encoder 'h2645'.*: take another"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is(change, error, message, tmp_path):
    arguments = {"path": "a.mp4", "fps": 25, "size": (48, 64)} | change
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(error, match=message):
        VideoWriter(**arguments)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("frame", [draw(0, (48, 66)), draw(0).astype(np.float32), draw(0)[..., 0]])
def test_a_frame_of_another_kind_is_told(frame, tmp_path):
    with (
        pytest.raises(ValueError, match=r"frame 1 for .*: wanted \(48, 64, 3\) uint8"),
        VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer,
    ):
        writer.write(draw(0))
        writer.write(frame)
    assert files_in(tmp_path) == []


def test_a_closed_writer_takes_no_frame(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer:
        writer.write(draw(0))
    with pytest.raises(ValueError, match="is closed"):
        writer.write(draw(0))


def _threads() -> set[str]:
    return set(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted on Linux")
@pytest.mark.parametrize("end", [VideoWriter.close, VideoWriter.abort])
def test_the_encoder_ends_with_the_video_and_not_with_the_writer(end, tmp_path):
    before = _threads()
    writer = VideoWriter(tmp_path / "a.mp4", 25, (48, 64))
    for number in range(4):
        writer.write(draw(number))
    of_encoder = _threads() - before
    assert of_encoder
    end(writer)
    assert not of_encoder & _threads()


def test_a_forked_worker_leaves_an_encoder_that_its_parent_has_lost_alone(tmp_path):
    gc.disable()  # so that the worker's collector is the one that finds it
    try:
        lost = VideoWriter(tmp_path / "a.mp4", 25, (48, 64))
        lost.write(draw(0))
        lost.itself = lost
        del lost
        worker = multiprocessing.get_context("fork").Process(target=gc.collect, daemon=True)
        worker.start()
        worker.join(20)
        hung = worker.exitcode is None
        worker.kill()
        assert not hung
    finally:
        gc.enable()


def test_two_files_of_one_name_do_not_spoil_each_other(tmp_path):
    frames = np.full((64, 96, 3), 90, np.uint8), np.full((64, 96, 3), 200, np.uint8)
    with VideoWriter(tmp_path / "a.mp4", 10, (64, 96)) as one:
        one.write(frames[0])
        with VideoWriter(tmp_path / "a.mp4", 10, (64, 96)) as other:
            other.write(frames[1])
        one.write(frames[0])
    video = list(VideoFile(tmp_path / "a.mp4"))
    assert len(video) == 2 and abs(video[1].mean() - 90) < 4
    assert files_in(tmp_path) == ["a.mp4"]


def test_parts_of_another_encoder_are_encoded_anew(tmp_path):
    paths, times = [tmp_path / "a.mp4", tmp_path / "b.mp4"], [0.0, 0.1, 0.25, 0.3, 0.4, 0.5]
    for path, crf in zip(paths, (18, None), strict=True):
        with VideoWriter(path, 10, (64, 96), "libx264" if crf else "mpeg4", crf) as writer:
            for shown in times[:3]:
                writer.write(np.full((64, 96, 3), 90 if crf else 200, np.uint8), shown)
    join_videos(tmp_path / "joined.mp4", paths, times, 0.6)
    frames = list(VideoFile(tmp_path / "joined.mp4").timed())
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-3)
    means = [frame.picture.mean() for frame in frames]
    np.testing.assert_allclose(means, [90] * 3 + [200] * 3, atol=4)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4", "joined.mp4"}
    with pytest.raises(ValueError, match="its segments have 3 frames: wanted 4"):
        join_videos(tmp_path / "wrong.mp4", paths[:1], times[:4], 0.6)
