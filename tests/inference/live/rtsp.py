"""`rtsp_server.py` as a process that is started, killed and started again."""

import subprocess
from pathlib import Path

import pytest

SYSTEM = "/usr/bin/python3"
"""The one with GStreamer: its bindings come with the system, not from PyPI."""


class RtspServer:
    def __init__(self, *words, port=0):
        file = Path(__file__).with_name("rtsp_server.py")
        command = [SYSTEM, file, "--port", str(port), *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def url(self, path="live", user=""):
        return f"rtsp://{user and user + '@'}127.0.0.1:{self.port}/{path}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def _lacks_server():
    code = (
        "import gi; gi.require_version('GstRtspServer', '1.0');"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
        "assert all(Gst.ElementFactory.find(n) for n in ('x264enc', 'rtph264pay', 'avdec_h264'))"
    )
    if not Path(SYSTEM).exists():
        return True
    return subprocess.run([SYSTEM, "-c", code], stderr=subprocess.DEVNULL).returncode != 0


needs_server = pytest.mark.skipif(
    _lacks_server(),
    reason="no RTSP server: apt install python3-gi gir1.2-gst-rtsp-server-1.0 "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
    "gstreamer1.0-plugins-ugly gstreamer1.0-libav",
)
