"""Names in a folder that one process takes, while others write there too."""

import os
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes apart there
    fcntl = None  # type: ignore[assignment]


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
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise ValueError(
                f"another process is writing results called {name} to {folder}: wait for that "
                "one, or give another folder with --output"
            ) from None
        except OSError:  # some network drives have no locks
            return file
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # it was released, and removed, between the two steps


def release(file: BinaryIO) -> None:
    """Gives a claimed name free."""
    Path(file.name).unlink(missing_ok=True)
    file.close()
