"""Claims on names by files that other machines see, kept alive by a heartbeat."""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dff.inference.results.claims import lock, make_once

EXPIRY = 60.0
"""Seconds without a heartbeat after which a claim is taken over."""

_BEATS = 6  # in that time: a few may be late


class ClaimLostError(ValueError):
    """Another process has taken over what this one had claimed."""


class ClaimFiles:
    """Names that one process of many takes, on any machine that sees a folder.

    A claim is a file NAME.1.claim, made in one step, so that one process alone can make it. Its
    owner touches it again and again. Where that has stopped, another process takes over by making
    NAME.2.claim, and so on: nothing is removed or replaced that a third one may look at, and the
    number tells how many have tried.

    Whether an owner is silent is seen by who looks, who measures with a clock of its own how long a
    file stays as it is: the clocks of machines differ. On the machine of the owner a lock tells at
    once that its process has ended.

    Args:
        folder: Of the claims; it is there.
        expiry: Seconds of silence after which a claim is taken over; the same everywhere.
        clock: Seconds, of this process alone.

    Raises:
        ValueError: The expiry is not a positive number.
    """

    def __init__(
        self,
        folder: Path,
        expiry: float = EXPIRY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < expiry < float("inf"):
            raise ValueError(f"claims that expire after {expiry} seconds: wanted more than 0")
        self.folder, self.expiry, self.clock = folder, expiry, clock
        self._held: dict[str, tuple[int, BinaryIO]] = {}
        self._seen: dict[Path, tuple[int, float]] = {}  # last change of the file, when it was seen
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def take(self, name: str) -> int | None:
        """Claims a name, where nobody has it or its owner is silent.

        Returns:
            Which attempt this is, from 1: each one before it ended without giving the name free.
            None where another process has the name.

        Raises:
            OSError: Nothing can be written to the folder.
        """
        if self._ended.is_set():
            return None
        last = max(self._attempts(name), default=0)
        if last and not self._silent(self._file(name, last)):
            return None
        file = make_once(self._file(name, last + 1), f"{_machine()}\n{os.getpid()}".encode())
        if file is None:
            return None
        self._held[name] = last + 1, file
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._heart.start()
        return last + 1

    def holds(self, name: str) -> bool:
        """Whether this process has taken a name and not given it free."""
        return name in self._held

    def attempt(self, name: str) -> int:
        """Which attempt at a name that is held this one is."""
        return self._held[name][0]

    def check(self, name: str) -> None:
        """Looks whether a name is still this process's.

        Raises:
            ClaimLostError: Another process has taken over, as this one stood still for too long.
        """
        if not self._is_held(name):
            raise ClaimLostError(
                f"another process has taken over {name}, as this one was silent for more than "
                f"{self.expiry:g} seconds: it goes on with the others"
            )

    def release(self, name: str) -> None:
        """Gives a name free, with what earlier attempts have left; nothing where it is lost."""
        held = self._is_held(name)
        attempt, file = self._held.pop(name)
        if held:
            for earlier in sorted(self._attempts(name)):  # this one last: it keeps others away
                if earlier <= attempt:
                    self._file(name, earlier).unlink(missing_ok=True)
        file.close()

    def close(self) -> None:
        """Gives all names free, and ends the heartbeat."""
        for name in list(self._held):
            with suppress(OSError):
                self.release(name)
        self.abandon()

    def abandon(self) -> None:
        """Ends the heartbeat and leaves the names claimed, as a process that died does."""
        self._ended.set()
        for _, file in self._held.values():
            file.close()
        self._held.clear()

    def _beat(self) -> None:
        while not self._ended.wait(self.expiry / _BEATS):
            for name, (attempt, file) in list(self._held.items()):
                # By the open file: that of this name may be another process's by now.
                with suppress(OSError, ValueError):
                    by_file = os.utime in os.supports_fd
                    os.utime(file.fileno() if by_file else self._file(name, attempt))

    def _file(self, name: str, attempt: int) -> Path:
        return self.folder / f"{name}.{attempt}.claim"

    def _attempts(self, name: str) -> list[int]:
        found = []
        for entry in os.listdir(self.folder):
            number = entry.removeprefix(f"{name}.").removesuffix(".claim")
            if number.isdigit() and entry == f"{name}.{number}.claim":
                found.append(int(number))
        return found

    def _is_held(self, name: str) -> bool:
        attempt, file = self._held[name]
        try:
            same = os.path.samestat(os.fstat(file.fileno()), self._file(name, attempt).stat())
        except FileNotFoundError:
            return False
        return same and max(self._attempts(name), default=0) <= attempt

    def _silent(self, path: Path) -> bool:
        """Whether the owner of a claim has ended, or has not been heard of for too long."""
        try:
            with path.open("r+b") as file:  # opening it asks a file server for its present state
                changed = os.fstat(file.fileno()).st_mtime_ns
                machine = file.read().decode(errors="replace").partition("\n")[0]
                if machine and machine == _machine() and lock(file):
                    return True
        except FileNotFoundError:  # given free in between
            return False
        seen = self._seen.get(path)
        if seen is None or seen[0] != changed:
            self._seen[path] = changed, self.clock()
            return False
        return self.clock() - seen[1] > self.expiry


def _machine() -> str:
    """What tells this machine, since it was started, from others; empty where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return f"{boot} {socket.gethostname()}"  # two containers need not share their locks
