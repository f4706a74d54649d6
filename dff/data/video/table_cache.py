"""Frame tables kept on disk: a video file is looked through once, whoever draws frames from it."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from dff.data.files.whole_files import whole_file
from dff.data.video.file import VideoFile
from dff.data.video.frame_table import FrameTable

FOLDER = "frame-tables"


def frame_times(video: VideoFile, cache: str | os.PathLike | None = None) -> np.ndarray:
    """The time of each frame of a video file, and a table in the file's object for `read`.

    Files in which a seek cannot be trusted (AVI, MPEG-TS, GIF) are decoded once to count them.

    Args:
        video: The file.
        cache: Folder for tables; $DFF_CACHE or ~/.cache/dff if None. Where it cannot be written,
            tables are made again by each process.

    Returns:
        (n,) float64, seconds after the first frame, increasing.

    Raises:
        VideoError: The file is damaged, which only those that are decoded tell here.
    """
    path = _path(video.path, cache)
    known = _load(path)
    if known is None:
        table = video.frame_table()
        if table is None:
            times = np.array([frame.time for frame in video.timed()])
        else:
            times = _times(table)
        _save(path, table, times)
        return times
    table, times = known
    video.use_table(table)
    return times


def table_of(video: VideoFile, cache: str | os.PathLike | None = None) -> FrameTable | None:
    """The table of a file, in the file's object for `read` and `timed` too; decodes nothing.

    Args:
        video: The file.
        cache: As in `frame_times`.

    Returns:
        None where a seek cannot be trusted.
    """
    path = _path(video.path, cache)
    known = _load(path)
    if known is not None:
        video.use_table(known[0])
    elif (table := video.frame_table()) is not None:
        _save(path, table, _times(table))
    return video.frame_table()


def _times(table: FrameTable) -> np.ndarray:
    return (np.array(table.pts) - table.pts[0]) * table.time_base


def _path(video: str, cache: str | os.PathLike | None) -> Path:
    cache = cache or os.environ.get("DFF_CACHE") or Path.home() / ".cache" / "dff"
    real = os.path.realpath(video)
    status = os.stat(real)
    content = f"{real}\n{status.st_size}\n{status.st_mtime_ns}"
    name = hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:24]
    return Path(cache).expanduser() / FOLDER / f"{name}.npz"


def _load(path: Path) -> tuple[FrameTable | None, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as found:
            pts, keys, seeks = (found[name].tolist() for name in ("pts", "keys", "seeks"))
            closed, base, times = bool(found["closed"]), float(found["time_base"]), found["times"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    seeks_of = dict(zip(keys, seeks, strict=True))
    return (FrameTable(tuple(pts), seeks_of, closed, base) if pts else None), times


def _save(path: Path, table: FrameTable | None, times: np.ndarray) -> None:
    seeks = {} if table is None else table.seeks
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part, part.open("wb") as stream:
            np.savez(
                stream,
                pts=np.array([] if table is None else table.pts, np.int64),
                keys=np.array(list(seeks), np.int64),
                seeks=np.array(list(seeks.values()), np.int64),
                closed=table is not None and table.closed,
                time_base=1.0 if table is None else table.time_base,
                times=times,
            )
    except OSError:  # a cache that cannot be kept is made again
        return
