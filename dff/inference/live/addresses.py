"""What a person types for a live source: a camera, an address, a file or standard input."""

import os
import re
import sys
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from dff.data.files.addresses import masked
from dff.data.video.stream import check_file, open_stream

Kind = Literal["camera", "stream", "file", "stdin"]

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "tcp", "srt")
"""Of addresses that are opened; a play list of one may name further ones of its own protocol."""
OPENING, READING = 10.0, 10.0
"""Seconds after which a source that does not answer, or sends nothing, counts as lost."""
_CAMERA = re.compile(r"(?:/dev/video)?(\d{1,3})")


@dataclass(frozen=True)
class Address:
    """A source, and how FFmpeg opens it.

    Attributes:
        kind: What it is.
        name: What the page, files and messages call it; without user and password.
        url: What is opened.
        format: Of a device; None lets FFmpeg find out.
        options: Of FFmpeg.
    """

    kind: Kind
    name: str
    url: str = field(repr=False)
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @property
    def endless(self) -> bool:
        """Whether an end of it is a fault, after which it is opened again."""
        return self.kind in ("camera", "stream")

    def source(self) -> Any:
        """What `av.open` takes."""
        return sys.stdin.buffer if self.kind == "stdin" else self.url


def parse_address(word: str) -> Address:
    """Reads what a person typed.

    Args:
        word: The number of a camera or its device, an address, `-`, or a file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is an address of another kind.
        VideoError: It is a folder or something else that is no file.
    """
    if word == "-":
        if sys.stdin is None:  # a shell's <&-
            raise ValueError("-: standard input is closed; pipe a video into it")
        return Address("stdin", "standard input", word)
    if camera := _CAMERA.fullmatch(word):
        device = f"/dev/video{camera[1]}"
        if not os.path.exists(device):
            raise FileNotFoundError(
                f"no camera {device}: plug it in, or give another number; ls /dev/video* lists them"
            )
        return Address("camera", f"camera {camera[1]}", device, "v4l2")
    if "://" in word:
        parts = urlsplit(word)
        if parts.scheme.lower() not in SCHEMES:
            raise ValueError(
                f"{masked(word)}: {parts.scheme}:// is not opened; wanted one of "
                f"{', '.join(SCHEMES)}, a camera's number, a file, or - for standard input"
            )
        return Address("stream", masked(word), word, None, _options(parts.scheme.lower()))
    check_file(word)
    with open_stream(word, threads=1):
        pass  # what is no video is told now
    return Address("file", os.path.basename(word), f"file:{os.path.abspath(word)}")


def _options(scheme: str) -> dict[str, str]:
    # what is read to find the streams is decoded at once, and only the newest frame is kept; no
    # rate is asked for, which would take a second of frames
    options = {"analyzeduration": "1000000", "fpsprobesize": "0"}
    if scheme in ("rtsp", "rtsps"):
        # packets of a picture get lost over UDP, and the picture with them
        options |= {"rtsp_transport": "tcp", "timeout": str(int(READING * 1e6))}
    # a play list may name files and devices of this machine otherwise
    options["protocol_whitelist"] = {
        "rtsp": "rtsp,rtp,udp,tcp",
        "rtsps": "rtsp,rtsps,rtp,udp,tcp,tls",
        "rtmp": "rtmp,tcp",
        "rtmps": "rtmps,rtmp,tls,tcp",
        "http": "http,tcp",
        "https": "https,http,tls,tcp,crypto",
        "udp": "udp",
        "rtp": "rtp,udp",
        "tcp": "tcp",
        "srt": "srt",
    }[scheme]
    return options
