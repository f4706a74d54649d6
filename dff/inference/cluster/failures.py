"""Videos that could not be predicted, on record beside the results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dff.data.files.whole_files import write_whole
from dff.data.video.sources import VideoInput
from dff.data.video_source import source_of

FAILED = ".failed"
"""What follows a video's name in that of its record."""


class FailureRecords:
    """Says to all processes which videos need not be tried again, and why.

    A record holds for the same file and the same settings.

    Args:
        folder: Of the records; it is there.
        settings: Of the results.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, dict(settings)

    def reason(self, video: VideoInput) -> str | None:
        """Why a video could not be predicted; None where nothing of it is on record."""
        try:
            record = json.loads(self._file(video.name).read_bytes())
            same = (record["source"], record["settings"]) == (source_of(video), self.settings)
            return str(record["reason"]) if same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def add(self, video: VideoInput, reason: str) -> None:
        """Puts a video on record; raises OSError where nothing can be written."""
        record = {"source": source_of(video), "settings": self.settings, "reason": reason}
        write_whole(self._file(video.name), json.dumps(record, indent=2))

    def forget(self, video: VideoInput) -> None:
        """Lets a video be tried again."""
        self._file(video.name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}{FAILED}"
