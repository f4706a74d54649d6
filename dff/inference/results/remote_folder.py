"""Results at an address of fsspec, such as a bucket: uploaded when a video is whole."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dff.data.files.addresses import is_address, scheme_of, shown
from dff.data.files.remote import open_address, told
from dff.inference.results.claims import own_part
from dff.inference.results.folders import (
    SHARED,
    DiskFolder,
    ResultFolder,
    parse_report,
    reported_name,
)

_AT_ONCE = 500
"""Reports that are read in one go; a file system asks for many of them at the same time."""
_WITH_FOLDERS = {"file", "local", "sftp", "ssh", "ftp", "smb", "hdfs", "webhdfs", "webdav"}
"""Protocols of which a folder must be made; elsewhere that might make a bucket of that name."""


def result_folder(place: str | os.PathLike) -> ResultFolder:
    """The folder of results at a path, or at an address."""
    word = os.fspath(place)
    return RemoteFolder(word) if is_address(word) else DiskFolder(word)


class RemoteFolder:
    """A `ResultFolder` at an address.

    What is being written is on this machine, in a temporary folder. A report goes there first under
    another name, which says whose the files are that follow it, and last under its own, which marks
    them as finished: an upload that was interrupted is done again.

    Args:
        address: Of the folder.

    Raises:
        OSError, ValueError: It cannot be reached; see `open_address`.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._files, path = open_address(self.address)
        self._path = path.rstrip("/")
        self._names: set[str] | None = None
        # removed with this object, or as the process ends
        self._temporary = tempfile.TemporaryDirectory(prefix="dff-", ignore_cleanup_errors=True)
        self.work = Path(self._temporary.name)

    def __str__(self) -> str:
        return shown(self.address)

    def prepare(self) -> None:
        """See `ResultFolder`."""
        probe = self._at(own_part())
        with told(self.address):
            if scheme_of(self.address) in _WITH_FOLDERS:
                self._files.makedirs(self._path, exist_ok=True)
            self._files.pipe_file(probe, b"")
            self._files.rm_file(probe)

    def report(self, name: str) -> dict[str, Any] | None:
        """See `ResultFolder`."""
        try:
            with told(self.address):
                return parse_report(self._files.cat_file(self._at(f"{name}.json")))
        except FileNotFoundError:
            return None

    def reports(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """See `ResultFolder`."""
        self._names = set(self._listed())
        begun = [name for name in self._names if name.startswith(".") and reported_name(name)]
        whole = [name for name in self._names if not name.startswith(".") and reported_name(name)]
        for names in (begun, whole):
            for start in range(0, len(names), _AT_ONCE):
                some = {self._at(name): name for name in names[start : start + _AT_ONCE]}
                with told(self.address):
                    found = self._files.cat(list(some), on_error="omit")
                for path, content in found.items():
                    name = reported_name(path.rpartition("/")[2])
                    if name and (report := parse_report(content)):
                        yield name, report

    def holds(self, name: str, results: Sequence[str]) -> bool:
        """See `ResultFolder`."""
        if self._names is None:
            self._names = set(self._listed())
        return any(f"{name}{suffix}" in self._names for suffix in results)

    def stamps(self) -> dict[str, object]:
        """See `ResultFolder`."""
        found: dict[str, object] = {}
        for file, entry in self._listed().items():
            name = None if file.startswith(".") else reported_name(file)
            if name:
                found[name] = str({k: v for k, v in entry.items() if k not in ("name", "type")})
        return found

    def publish(self, begun: Path, name: str, results: Sequence[str], report: str) -> None:
        """See `ResultFolder`."""
        content, part = report.encode(), self._at(f".{name}.json.part")
        written = [begun / f"{name}{suffix}" for suffix in results]
        # a folder stands before what is in it: some protocols must make it
        files = [f for w in written if w.exists() for f in (w, *sorted(w.rglob("*")))]
        targets = [self._at(file.relative_to(begun).as_posix()) for file in files]
        with told(self.address):
            self._files.pipe_file(part, content)
            try:
                self._remove(name, results)
                if files:
                    self._files.put([str(file) for file in files], targets)
                self._files.pipe_file(self._at(f"{name}.json"), content)
                self._files.rm_file(part)
            except Exception:
                with suppress(Exception):  # what remains is known by the report that was begun
                    self._remove(name, results)
                    self._files.rm_file(part)
                raise

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """See `ResultFolder`; the first process decides where the protocol can tell that."""
        path = self._at(f"{SHARED}/{name}")
        with told(self.address):
            try:
                return bytes(self._files.cat_file(path))
            except FileNotFoundError:
                content = make()
            if scheme_of(self.address) in _WITH_FOLDERS:
                self._files.makedirs(self._at(SHARED), exist_ok=True)
            with suppress(FileExistsError):
                try:
                    self._files.pipe_file(path, content, mode="create")
                except (NotImplementedError, TypeError):
                    self._files.pipe_file(path, content)
            return bytes(self._files.cat_file(path))

    def _remove(self, name: str, results: Sequence[str]) -> None:
        for suffix in results:  # the report is the first of them
            with suppress(FileNotFoundError):
                path = self._at(f"{name}{suffix}")
                if suffix:
                    self._files.rm_file(path)
                else:
                    self._files.rm(path, recursive=True)

    def _listed(self) -> dict[str, dict[str, Any]]:
        """What is in the folder: name -> what is known of it."""
        with told(self.address):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._path, detail=True)
            except FileNotFoundError:  # a bucket has no empty folders
                return {}
        return {entry["name"].rstrip("/").rpartition("/")[2]: entry for entry in found}

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"
