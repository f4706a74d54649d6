"""Whole live sessions: two sources, a lost one, lines of JSON, files that are whole."""

import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import av
import numpy as np
import pytest
import torch
from clips import write_clip
from sessions import Kept, result, session_of, wait_for
from stream_server import StreamServer, transport_stream

from dff.commands.live import main
from dff.inference.live import source as live_source
from dff.inference.live.addresses import parse_address
from dff.inference.live.sinks import JsonLines, VideoSink
from dff.inference.live.source import LiveSource


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory):
    from dff.lit.module import LitDFF

    module = LitDFF("resnet18", "flownet_half", feature_channels=16)
    saved = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(saved)
    file = tmp_path_factory.mktemp("live") / "model.ckpt"
    torch.save(saved, file)
    return file


@pytest.mark.parametrize("at_once", [1, 2])
def test_two_files_at_once_and_what_is_made_of_them(at_once, tmp_path, capsys):
    files = [write_clip(tmp_path / f"{n}.mp4", count=9) for n in "ab"]
    sources = [LiveSource(parse_address(str(f)), "all") for f in files]
    kept = [Kept(), Kept()]
    sinks = [[kept[0], JsonLines("-"), VideoSink(tmp_path / "out.mp4")], [kept[1]]]
    session = session_of(sources, sinks)
    assert session.at_once == 1  # on a CPU
    session.at_once = at_once
    session.run()
    for own in kept:
        assert [r.number for r in own.results] == list(range(9)) and own.closed == 1
        assert [r.is_key for r in own.results] == [n % 4 == 0 for n in range(9)]
        assert sum(own.results[0].found["segmentation"]["shares"].values()) == pytest.approx(1)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(9))
    assert lines[0]["source"] == "a.mp4" and lines[4]["key_frame"] and "segmentation" in lines[0]
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(9) / 25, atol=0.002)


def test_a_source_that_comes_back_begins_with_a_key_frame_and_costs_the_other_nothing(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(live_source, "PAUSES", (0.1,))
    server = StreamServer(transport_stream(20), seconds=0.3)
    try:
        file = write_clip(tmp_path / "a.mp4", count=30)
        sources = [
            LiveSource(parse_address(server.url)),
            LiveSource(parse_address(str(file)), "all"),
        ]
        kept = [Kept(), Kept()]
        session = session_of(sources, [[kept[0]], [kept[1]]], duration=1000)
        thread = threading.Thread(target=session.run, daemon=True)
        thread.start()
        keys = kept[0].results
        wait_for(lambda: len(kept[1].results) == 30 and sum(r.is_key for r in keys) >= 2)
        session.ended.set()
        thread.join(20)
    finally:
        server.close()
    assert len(kept[1].results) == 30 and sum(r.is_key for r in kept[1].results) == 1
    assert 2 <= sum(r.is_key for r in kept[0].results) <= sources[0].opened
    assert "it is opened again in 0.1 s" in capsys.readouterr().err


def test_the_key_duration_can_be_changed_on_the_way(tmp_path):
    source = LiveSource(parse_address(str(write_clip(tmp_path / "a.mp4", count=12))), "all")
    kept = Kept()
    session = session_of([source], [[kept]], duration=100)
    put = kept.put
    kept.put = lambda r: (put(r), session.set_key_duration(2) if r.number == 5 else None)
    session.run()
    assert [r.number for r in kept.results if r.is_key] == [0, 6, 8, 10]
    assert session.figures()["key_duration"] == 2


def test_lines_are_posted_and_a_receiver_that_is_gone_is_no_reason_to_end(capsys):
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lines = JsonLines(f"http://127.0.0.1:{server.server_address[1]}/in")
    for number in range(3):
        lines.put(result(number))
    lines.close()
    server.shutdown(), server.server_close()
    assert [line["frame"] for line in got] == [0, 1, 2] and lines.dropped == 0
    gone = JsonLines(f"http://me:secret@127.0.0.1:{server.server_address[1]}/in")
    gone.put(result())
    gone.close()
    said = capsys.readouterr().err
    assert gone.dropped == 1 and "takes no results" in said and "secret" not in said
    with pytest.raises(ValueError, match="wanted - for standard output"):
        JsonLines("file.json")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_files_are_whole_when_somebody_ends_it(number, tmp_path, tiny_checkpoint):
    clip = write_clip(tmp_path / "a.mp4", count=500)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "dff", "live", tiny_checkpoint, clip, "--realtime"),
            *("--json", "-", "--output", tmp_path / "out.mp4"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(5):
        assert json.loads(process.stdout.readline())["source"] == "a.mp4"
    process.send_signal(number)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "latency" in said
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(list(container.decode(video=0))) == 5 + len(rest.splitlines())


def test_frames_that_the_model_refuses_end_in_an_error_with_the_cure(
    tmp_path, tiny_checkpoint, capsys
):
    pictures = [np.full((16, 24, 3), 40 * n, np.uint8) for n in range(4)]
    file = write_clip(tmp_path / "a.mkv", "ffv1", pictures=pictures)
    with pytest.raises(SystemExit) as ended:
        main([str(tiny_checkpoint), str(file)])
    said = capsys.readouterr().err
    assert ended.value.code == 1 and "3 not recognised" in said and "--short_side" in said


def test_an_output_never_takes_the_place_of_a_source_or_of_another_output(
    tmp_path, tiny_checkpoint
):
    files = [str(write_clip(tmp_path / f"{name}.mp4", count=3)) for name in "ab"]
    before = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"link\.mp4: that is a source; give another name"):
        main([str(tiny_checkpoint), files[0], "--output", str(tmp_path / "link.mp4")])
    out = str(tmp_path / "out.mp4")
    with pytest.raises(ValueError, match=r"out\.mp4 twice: wanted a file of its own for each"):
        main([str(tiny_checkpoint), *files, "--output", out, out])
    assert (tmp_path / "a.mp4").read_bytes() == before


def test_lines_that_nobody_reads_any_more_end_the_run_quietly(tmp_path, tiny_checkpoint):
    file = write_clip(tmp_path / "a.mp4", count=9)
    words = [sys.executable, "-m", "dff", "live", str(tiny_checkpoint), str(file), "--json", "-"]
    live = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert json.loads(live.stdout.readline())["frame"] == 0
    live.stdout.close()
    said = live.stderr.read()
    assert live.wait(60) == 1 and "error" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--threshold", "0.3"], "--threshold: the lowest score of drawn boxes is --score"),
        (["--seconds", "-1"], "--seconds -1: wanted more than 0"),
    ],
)
def test_options_that_mean_something_else_are_told(words, said, capsys):
    with pytest.raises(SystemExit):
        main(["model.ckpt", "0", *words])
    assert said in capsys.readouterr().err
