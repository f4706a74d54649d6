"""Frames of a video as image files, whole or not there, so that a stopped run can go on."""

import json
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np

from dff.data.files.whole_files import write_whole
from dff.data.video.sources import VideoError, VideoInput
from dff.data.video_source import source_of


@dataclass(frozen=True)
class Extraction:
    """Which frames are written, and how.

    Args:
        step: Every step-th frame.
        start: First frame, counted from 0.
        end: Frame before which to stop; None takes all.
        names: Of the files without suffix, a format of the frame's number in the video.
        format: jpg, or png, which loses nothing.
        quality: Of jpg, 1 to 100.

    Raises:
        ValueError: One of them is out of its range.
    """

    step: int = 1
    start: int = 0
    end: int | None = None
    names: str = "{:06d}"
    format: Literal["jpg", "png"] = "jpg"
    quality: int = 95

    def __post_init__(self) -> None:
        if self.step < 1 or self.start < 0 or (self.end is not None and self.end <= self.start):
            raise ValueError(
                f"step {self.step}, start {self.start}, end {self.end}: wanted a step from 1, a "
                "start from 0 and an end behind it"
            )
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality {self.quality}: wanted 1 to 100")
        try:
            names = [self.names.format(number) for number in (0, 1, 10)]
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(
                f"names {self.names!r} is no format of a number ({error}): wanted one such as "
                "{:06d}"
            ) from error
        if len(set(names)) < len(names) or any("/" in n or "\\" in n for n in names):
            raise ValueError(
                f"names {self.names!r} gives files one name or another folder: wanted one place "
                "for the number, such as frame_{:06d}"
            )

    def file(self, folder: Path, number: int) -> Path:
        """Where a frame goes."""
        return folder / f"{self.names.format(number)}.{self.format}"

    def encoded(self, frame: np.ndarray) -> bytes:
        """A frame (H, W, 3) uint8 RGB as the bytes of its file."""
        how = [cv2.IMWRITE_JPEG_QUALITY, self.quality] if self.format == "jpg" else []
        done, data = cv2.imencode(f".{self.format}", frame[..., ::-1], how)
        assert done, frame.shape
        return data.tobytes()


class Extracted(NamedTuple):
    """What an extraction did: frames written, frames that were there, and what stopped it."""

    written: int
    there: int
    error: str | None = None


def _take(folder: Path, video: VideoInput, wanted: Extraction) -> str | None:
    """Puts on record, beside a folder, whose frames it has; says why it cannot have these."""
    record = folder.with_name(f".{folder.name}.extracted.json")
    settings = {**asdict(wanted), "end": None}  # more frames of the same kind may follow
    whose = {"source": source_of(video), "settings": settings}
    try:
        found = json.loads(record.read_bytes())
        before, source = dict(found["settings"]), dict(found["source"])
    except FileNotFoundError:
        write_whole(record, json.dumps(whose, indent=2))
        return None
    except (ValueError, KeyError, TypeError):
        return f"{record} is damaged: remove it, or give another folder with --output"
    if source != whose["source"]:
        return (
            f"{folder} has the frames of {source.get('path')}, another video or another state of "
            f"it than {video.path}: give another folder with --output, or remove that one"
        )
    differing = [key for key, value in settings.items() if before.get(key) != value]
    if differing:
        told = ", ".join(f"{key} {before.get(key)}" for key in differing)
        return (
            f"{folder} has frames that were taken with {told}: give another folder with --output, "
            "or the same settings"
        )
    return None


def extract(video: VideoInput, folder: Path, wanted: Extraction) -> Extracted:
    """Writes the frames of a video that are not there yet.

    Args:
        video: The video.
        folder: Where to.
        wanted: Which and how.

    Raises:
        OSError: A file cannot be written.
    """
    written = there = 0
    try:
        opened = video.open()
        folder.mkdir(parents=True, exist_ok=True)
        if (other := _take(folder, video, wanted)) is not None:
            return Extracted(0, 0, other)
        for number, frame in enumerate(islice(opened, wanted.end)):
            if number < wanted.start or (number - wanted.start) % wanted.step:
                continue
            file = wanted.file(folder, number)
            if file.is_file():
                there += 1
                continue
            write_whole(file, wanted.encoded(frame))
            written += 1
    except VideoError as error:
        return Extracted(written, there, str(error))
    if not written + there:
        return Extracted(0, 0, f"{video.path} has no frame from {wanted.start} on")
    return Extracted(written, there)
