"""Files that are whole or not there, and what the system says of a file, in words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A file could not grow."""

CURES = {
    errno.ENOSPC: "make room there, or write to another disk",
    errno.EDQUOT: "make room in your quota, or write to another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or write to another file system",
    errno.EACCES: "change its rights, or choose another place",
    errno.EPERM: "change its rights, or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name, or a place with a shorter path",
    errno.ENOTDIR: "a part of this path is a file: choose another place",
    errno.EISDIR: "a folder stands where a file is wanted: choose another place",
    errno.ELOOP: "a link there leads back to itself: remove it",
    errno.ENOENT: "check that it is still there, and its name",
    errno.EIO: "the disk failed: check it and its mount",
    errno.ESTALE: "the network disk has lost it: mount it again",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or take fewer num_workers",
}


def in_words(error: OSError) -> str:
    """What the system says as a sentence with the path and the cure; a written message as it is."""
    if error.errno is None or error.strerror is None:
        return str(error)
    place = f"{error.filename}: " if error.filename is not None else ""
    cure = CURES.get(error.errno)
    return f"{place}{error.strerror}" + (f"; {cure}" if cure else "")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a file beside `path` to write to; it takes its place when all of it is written.

    A process that ends in between, or a full disk, leaves what was there before.

    Args:
        path: In a folder that is there.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    # Not tempfile: its files are 0600, and results are for everyone whom the umask allows.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException as error:
        try:
            part.unlink(missing_ok=True)
        except OSError:
            pass  # the folder has become read-only: the first error says so
        # The system's errors of a failed write name no file, or the part; words stay as they are.
        if isinstance(error, OSError) and error.errno is not None:
            if error.filename in (None, part, str(part)):
                error.filename, error.filename2 = str(path), None
        raise


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a file through `whole_file`; text as UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(Path(path)) as part:
        part.write_bytes(data)
