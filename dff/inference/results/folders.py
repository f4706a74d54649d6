"""Where results are kept: a folder of this machine, or one that it sees."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from dff.data.files.folders import check_folder
from dff.data.files.whole_files import write_whole
from dff.inference.results.claims import make_once

SHARED = ".claims"
"""In the folder of results: what processes that share a list tell each other."""


class ResultFolder(Protocol):
    """Results of videos, each whole or not there; `str` of it is for messages.

    Attributes:
        work: A folder on this machine, for what is being written.
    """

    work: Path

    def prepare(self) -> None:
        """Fails now, not after an hour, where nothing can be written; raises OSError."""
        ...

    def report(self, name: str) -> dict[str, Any] | None:
        """The report of a finished video; None where there is none."""
        ...

    def reports(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and reports of all videos whose results are there, or were begun to be put there.

        Those that were begun say whose the rest is, should the process have been killed in between.
        """
        ...

    def holds(self, name: str, results: Sequence[str]) -> bool:
        """Whether anything has the name of a result; as it was when the reports were asked for."""
        ...

    def stamps(self) -> dict[str, object]:
        """Name of a video with a report -> what changes with that."""
        ...

    def publish(self, begun: Path, name: str, results: Sequence[str], report: str) -> None:
        """Lets results take the place of earlier ones, the report last.

        Args:
            begun: A folder on this machine, with all results of the video.
            name: Of the video.
            results: Of `results_of`.
            report: Marks it as finished.

        Raises:
            OSError: They cannot be written; then none of them looks finished.
        """
        ...

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content of a file for all processes, made by the first that asks.

        Raises:
            OSError: It cannot be written.
        """
        ...


class DiskFolder:
    """A `ResultFolder` on a disk that this machine sees.

    Args:
        path: The folder; need not exist.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.work = Path(path)

    def __str__(self) -> str:
        return str(self.work)

    def prepare(self) -> None:
        """See `ResultFolder`.

        Raises:
            NotADirectoryError: It is a file.
            PermissionError: The folder cannot be made or written to.
        """
        check_folder(self.work)
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            if not os.access(self.work, os.W_OK):
                raise PermissionError
        except OSError as error:
            raise PermissionError(
                f"cannot write to {self}: choose another folder with --output, "
                "or ask for the right to write there"
            ) from error

    def report(self, name: str) -> dict[str, Any] | None:
        """See `ResultFolder`."""
        return _read(self.work / f"{name}.json")

    def reports(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """See `ResultFolder`."""
        for pattern in (".*.json.part", "*.json"):
            for file in self.work.glob(pattern):
                if (name := reported_name(file.name)) and (report := _read(file)):
                    yield name, report

    def holds(self, name: str, results: Sequence[str]) -> bool:
        """See `ResultFolder`."""
        return any(os.path.lexists(self.work / f"{name}{suffix}") for suffix in results)

    def stamps(self) -> dict[str, object]:
        """See `ResultFolder`."""
        found: dict[str, object] = {}
        if not self.work.is_dir():
            return found
        with os.scandir(self.work) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and (name := reported_name(entry.name)):
                    with suppress(OSError):  # it has gone
                        found[name] = entry.stat().st_mtime_ns
        return found

    def publish(self, begun: Path, name: str, results: Sequence[str], report: str) -> None:
        """See `ResultFolder`."""
        part = self.work / f".{name}.json.part"
        write_whole(part, report)
        # All is on the disk now. From here on what has this name is known to be ours, and results
        # of other settings go.
        try:
            remove_results(self.work, name, results)
            for suffix in results:
                if (begun / f"{name}{suffix}").exists():
                    os.replace(begun / f"{name}{suffix}", self.work / f"{name}{suffix}")
            os.replace(part, self.work / f"{name}.json")
        except OSError:
            with suppress(OSError):
                remove_results(self.work, name, results)
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """See `ResultFolder`."""
        file = self.work / SHARED / name
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            made = make_once(file, make())
            if made is not None:
                made.close()
        return file.read_bytes()


def shared_folder(folder: ResultFolder, named: str | os.PathLike | None = None) -> Path:
    """Where processes that share a list meet: in the folder of the results, or in another one."""
    return folder.work / SHARED if named is None else Path(named)


def remove_results(folder: Path, name: str, results: Sequence[str]) -> None:
    """Removes the results of a video, its report first."""
    for suffix in results:
        path = folder / f"{name}{suffix}"
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def reported_name(file: str) -> str | None:
    """The video of a report, or of one that was begun; None where a file is something else."""
    if file.endswith((".boxes.json", ".boxes.json.part")):  # they may be large
        return None
    if file.startswith(".") and file.endswith(".json.part"):
        return file[1:-10]
    return file[:-5] if file.endswith(".json") else None


def parse_report(content: str | bytes) -> dict[str, Any] | None:
    """A report; None where it is something else, or not whole."""
    try:
        report = json.loads(content)
    except ValueError:
        return None
    ours = isinstance(report, dict) and isinstance(report.get("source"), dict)
    return report if ours and {"path", "first_frame"} <= report["source"].keys() else None


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return parse_report(file.read_text())
    except (OSError, ValueError):
        return None
