"""Live sources: newest frames, lost and found again, hanging, files at their own pace."""

import threading
import time

import pytest
from clips import write_clip
from sessions import wait_for
from stream_server import StreamServer, transport_stream

from dff.data.video.sources import VideoError
from dff.inference.live import source as live_source
from dff.inference.live.addresses import masked, parse_address
from dff.inference.live.source import LiveSource


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(live_source, "PAUSES", (0.1, 0.2))
    monkeypatch.setattr(live_source, "READING", 1.0)


@pytest.fixture
def served():
    servers = []

    def serve(*arguments, **kwargs):
        servers.append(StreamServer(*arguments, **kwargs))
        return servers[-1]

    yield serve
    for server in servers:
        if not server.ended.is_set():
            server.close()


def test_a_frame_that_nobody_takes_is_replaced_and_counted(served):
    source = LiveSource(parse_address(served(transport_stream(20)).url)).start()
    wait_for(lambda: source.decoded >= 10)
    frame = source.take()
    assert frame.number >= 9 and frame.picture.shape == (64, 96, 3)
    assert source.dropped >= 9
    source.stop()


@pytest.mark.usefixtures("quick")
def test_a_server_that_ends_and_begins_again_is_found_again(served):
    server = served(transport_stream(20))
    source = LiveSource(parse_address(server.url)).start()
    wait_for(lambda: source.decoded >= 10)
    port = server.port
    server.close()
    wait_for(lambda: source.state == "lost")
    assert "it is opened again in" in source.said
    before = source.decoded
    served(transport_stream(20), port)
    wait_for(lambda: source.decoded > before)
    assert source.opened >= 2 and not source.finished
    source.stop()


@pytest.mark.usefixtures("quick")
def test_a_source_that_hangs_counts_as_lost(served):
    source = LiveSource(parse_address(served(transport_stream(60), hangs=True).url)).start()
    wait_for(lambda: source.decoded > 5)
    wait_for(lambda: source.state == "lost")
    started = time.monotonic()
    source.stop()
    assert time.monotonic() - started < 5


def test_all_frames_of_a_file_are_kept_and_it_ends(tmp_path):
    file = write_clip(tmp_path / "a.mp4", count=12)
    source = LiveSource(parse_address(str(file)), "all").start()
    frames = []
    while not source.finished:
        frame = source.take(1.0)
        frames += [] if frame is None else [frame]
    assert [f.number for f in frames] == list(range(12)) and source.dropped == 0
    assert [round(25 * f.place) for f in frames] == list(range(12))
    source.stop()


def test_a_file_may_come_at_its_own_pace(tmp_path):
    source = LiveSource(parse_address(str(write_clip(tmp_path / "a.mp4", count=12))), realtime=True)
    started = time.monotonic()
    source.start()
    wait_for(lambda: source.state == "ended")
    assert time.monotonic() - started > 11 / 25
    assert source.decoded == 12


def test_stopping_a_source_of_which_nobody_takes_frames_ends_its_thread(tmp_path):
    before = threading.active_count()
    source = LiveSource(parse_address(str(write_clip(tmp_path / "a.mp4", count=40))), "all").start()
    wait_for(lambda: source.ready(0.1))
    source.stop()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("rtsp://me:secret@cam:554/a?token=x", "rtsp://me:***@cam:554/a?***"),
        ("rtsp://cam/a", "rtsp://cam/a"),
        ("http://user:p%40ss@h/x.m3u8", "http://user:***@h/x.m3u8"),
        ("rtsp://secret@cam:554/a", "rtsp://***@cam:554/a"),
        ("rtsp://admin:12@34@cam/a", "rtsp://admin:***@cam/a"),
    ],
)
def test_no_password_is_shown(word, wanted):
    assert masked(word) == wanted
    address = parse_address(word)
    assert address.name == wanted and "secret" not in repr(address)


def test_rtsp_goes_over_tcp_and_gives_up_in_time():
    options = parse_address("rtsp://cam/a").options
    assert options["rtsp_transport"] == "tcp" and options["timeout"] == "10000000"
    assert "file" not in options["protocol_whitelist"]


@pytest.mark.parametrize(
    ("word", "error", "said"),
    [
        ("998", FileNotFoundError, "no camera /dev/video998"),
        ("ftp://a:b@c/d", ValueError, r"ftp://a:\*\*\*@c/d: ftp:// is not opened"),
        ("concat:a|b", FileNotFoundError, "concat"),
        ("nothere.mp4", FileNotFoundError, "nothere.mp4"),
    ],
)
def test_what_is_no_source_is_told_in_one_sentence(word, error, said):
    with pytest.raises(error, match=said) as told:
        parse_address(word)
    assert "\n" not in str(told.value)


def test_a_folder_is_no_source(tmp_path):
    with pytest.raises(VideoError, match="a folder"):
        parse_address(str(tmp_path))


def test_standard_input_that_is_closed_is_told(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ValueError, match="standard input is closed"):
        parse_address("-")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_source_ends_whatever_went_wrong(tmp_path, monkeypatch):
    source = LiveSource(parse_address(str(write_clip(tmp_path / "a.mp4", count=2))))
    monkeypatch.setattr(source, "_put", None)
    source.start()
    wait_for(lambda: source.finished)
    assert source.said == "it failed"


def test_a_file_that_is_no_video_and_a_folder_are_told_before_anything_starts(tmp_path):
    (tmp_path / "a.txt").write_text("no video")
    with pytest.raises(VideoError, match=r"a\.txt is not a video file .*: give a file"):
        parse_address(str(tmp_path / "a.txt"))
    with pytest.raises(VideoError, match="is a folder, not a video file: give a file in it"):
        parse_address(str(tmp_path))
