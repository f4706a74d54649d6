"""Streams sent on: to an RTSP server that records, to FFmpeg as an RTMP server, to nobody."""

import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import numpy as np
import pytest
from rtsp import RtspServer, needs_server
from sessions import result, wait_for

from dff.inference.live import push as live_push
from dff.inference.live.push import PushSink


class Sending:
    """Puts pictures into a sink, as a session would, until it is ended."""

    def __init__(self, address, size=(64, 96), picture=None):
        self.sink, self.ended, self.number = PushSink(address), threading.Event(), 0
        self.picture = np.full((*size, 3), 90, np.uint8) if picture is None else picture
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended.wait(0.04):
            self.sink.put(result(self.number, np.roll(self.picture, self.number, 1)))
            self.number += 1

    def close(self):
        self.ended.set()
        self.thread.join()
        self.sink.close()


@needs_server
def test_an_rtsp_server_gets_the_frames_and_after_a_restart_too(monkeypatch, capfd):
    monkeypatch.setattr(live_push, "OPENING", 1.0)
    words = ("--scheme", "digest", "--user", "me", "--password", "secret")
    server = RtspServer(*words)
    sending = Sending(server.url("push", "me:secret"), size=(65, 97))  # H.264 has even sides
    try:
        for _ in range(5):
            assert server.process.stdout.readline() == "frame 96 64\n"
        server.kill()
        server = RtspServer(*words, port=server.port)
        for _ in range(5):
            assert server.process.stdout.readline() == "frame 96 64\n"
        assert "secret" not in capfd.readouterr().err
    finally:
        sending.close()
        server.kill()


@needs_server
def test_a_server_that_hangs_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(live_push, "OPENING", 1.0)
    server = RtspServer()
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)  # megabytes a second
    sending = Sending(server.url("push"), picture=noise)
    try:
        assert server.process.stdout.readline() == "frame 640 480\n"
        server.process.send_signal(signal.SIGSTOP)
        before = sending.number
        wait_for(lambda: sending.sink.dropped > 0)
        assert sending.number > before + live_push.WAITING
    finally:
        sending.close()
        server.kill()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")
def test_an_rtmp_server_gets_the_frames(monkeypatch):
    monkeypatch.setattr(live_push, "OPENING", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"rtmp://127.0.0.1:{free.getsockname()[1]}/live"
    command = ["ffmpeg", "-loglevel", "info", "-listen", "1", "-i", address, "-f", "null", "-"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    sending = Sending(address)
    try:
        wait_for(lambda: sending.number - sending.sink.dropped > 50)
    finally:
        sending.close()
    said = server.communicate(timeout=30)[1]
    assert server.returncode == 0 and "h264" in said and "96x64" in said
    assert int(re.findall(r"frame= *(\d+)", said)[-1]) > 10


def test_a_server_that_takes_no_frames_is_told_once(capsys):
    push = PushSink("rtmp://me:secret@127.0.0.1:9/live/secret-key")
    for number in range(3):
        push.put(result(number))
    wait_for(lambda: push.dropped == 3)
    push.close()
    said = capsys.readouterr().err
    assert said.count("takes no frames") == 1 and "secret" not in said
    with pytest.raises(ValueError, match="wanted an rtsp:// or rtmp:// address"):
        PushSink("http://a/b")
