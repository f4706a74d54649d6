"""Names in a folder that one process takes, while others write there too."""

import os
import re
import secrets
import shutil
import socket
from pathlib import Path
from typing import BinaryIO, Protocol

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes apart there
    fcntl = None  # type: ignore[assignment]

_UNSAFE = re.compile(r"[^\w-]+")


class Claims(Protocol):
    """Who writes the results of which video; called by one thread at a time."""

    def begin(self, name: str) -> Path:
        """Takes a name, before anything is written.

        Returns:
            Where its files are until they are complete; nothing is there yet.

        Raises:
            OSError: Nothing can be written there.
            ValueError: Another process has the name.
        """
        ...

    def check(self, name: str) -> None:
        """Called before the files of a name take the place of earlier ones.

        Raises:
            ValueError: It is another process's by now.
        """
        ...

    def end(self, name: str, failure: str | None, damaged: bool) -> None:
        """Gives a name free that has been dealt with.

        Args:
            name: Of the video.
            failure: What became of it where it was not predicted in full.
            damaged: Whether that lies in the video itself.
        """
        ...

    def leave(self, name: str) -> None:
        """Called in place of `end` where the run is interrupted; what was begun is removed."""
        ...


class NameLocks:
    """`Claims` by locks on files, for runs that may meet in one folder.

    Args:
        folder: Of the results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: dict[str, BinaryIO] = {}

    def begin(self, name: str) -> Path:
        """See `Claims`."""
        self._locks[name] = claim(self.folder, name)
        part = self.folder / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        return part

    def check(self, name: str) -> None:
        """Nobody takes over what is locked."""

    def end(self, name: str, failure: str | None, damaged: bool) -> None:
        """See `Claims`."""
        self.leave(name)

    def leave(self, name: str) -> None:
        """See `Claims`."""
        lock = self._locks.pop(name, None)
        if lock is not None:
            release(lock)


def claim(folder: Path, name: str) -> BinaryIO:
    """Takes a video's name in a folder for this process, against others that write there.

    Returns:
        What `release` gives it free with; it is free as well when the process ends, whatever ends
        it.

    Raises:
        OSError: Nothing can be written there.
        ValueError: Another process has the name.
    """
    path = folder / f".{name}.lock"
    while True:
        file = path.open("wb")
        locked = lock(file)
        if locked is None:
            return file
        if not locked:
            file.close()
            raise ValueError(
                f"another process is writing results called {name} to {folder}: wait for that "
                "one, or give another folder with --output"
            )
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # it was released, and removed, between the two steps


def release(file: BinaryIO) -> None:
    """Gives a claimed name free."""
    Path(file.name).unlink(missing_ok=True)
    file.close()


def lock(file: BinaryIO) -> bool | None:
    """Locks an open file until it is closed, or until the process ends, whatever ends it.

    Returns:
        False where another process has locked it; None where there are no locks, as on Windows and
        on some network drives.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def make_once(path: Path, content: bytes) -> BinaryIO | None:
    """Makes a file with its content in one step.

    Args:
        path: In a folder that is there.
        content: Of the file.

    Returns:
        The file, open and locked where there are locks; None where it was there already.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(own_part())
    file = part.open("w+b")
    try:
        lock(file)
        file.write(content)
        file.flush()
        try:
            os.link(part, path)
        except FileExistsError:
            # A file server's answer may have been lost, and the question been asked twice.
            if not os.path.samestat(part.stat(), path.stat()):
                file.close()
                return None
        except OSError:  # a file system without links
            file.close()
            return _make_in_two_steps(path, content)
        return file
    except FileNotFoundError:  # what was there already has gone again
        file.close()
        return None
    finally:
        part.unlink(missing_ok=True)


def own_part() -> str:
    """The name of a file that no other process uses."""
    host = _UNSAFE.sub("_", socket.gethostname())
    return f".{host}.{os.getpid()}.{secrets.token_hex(4)}.part"


def _make_in_two_steps(path: Path, content: bytes) -> BinaryIO | None:
    try:
        file = path.open("x+b")
    except FileExistsError:
        return None
    lock(file)
    file.write(content)
    file.flush()
    return file
