"""The videos of a list, shared by processes that know of each other by files alone."""

import random
import shutil
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import cast

from dff.data.video.sources import VideoInput
from dff.inference.cluster.claim_files import EXPIRY, ClaimFiles, ClaimLostError
from dff.inference.cluster.failures import FAILED, FailureRecords
from dff.inference.cluster.progress import Progress, SharedProgress
from dff.inference.results.folders import shared_folder
from dff.inference.results.segments import (
    MARK,
    SegmentedFolder,
    SegmentsGoneError,
    join_segments,
)
from dff.inference.results.writer import ResultWriter, not_predicted

ATTEMPTS = 3
"""Processes that may end without a word over one video, before it is left alone."""

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0
"""Seconds before it is looked again what the others have done; each wait is longer."""


class _Join(Enum):
    """What became of the joining of a video: nothing is left to do here, or it waits for others."""

    ENDED, LATER = range(2)


class _StoppedError(Exception):
    """The process is to end."""


class SharedWork:
    """Videos to predict, each claimed when it is asked for; `Claims` of a `ResultWriter`.

    Any number of processes iterate over the same videos with the same output folder: each video
    goes to one of them, and to another one where that ends before the video is done. The iteration
    ends when all videos are predicted or could not be, whoever did it. A long video goes to them in
    segments, and one of them joins what was found.

    To be used in a `with` statement. What is claimed is free after it; but where the code has
    failed, claims stay behind as those of a process that died, so that a video that always does
    this is left alone after `ATTEMPTS`.

    Args:
        videos: With their names of `shared_names`.
        writer: Whose `claims` this becomes.
        expiry: Seconds of silence after which the claim of another process is taken over.
        retry: Try again what could not be predicted before.
        speaks: Say from time to time how far all processes are.
        folder: Which all of them see, for the claims; in that of the results if None.
        segments: Name of a video -> its segments, where it is to be predicted by them; the writer's
            folder is a `SegmentedFolder` then.

    Attributes:
        failed: Name of a video -> why it could not be predicted, of all processes.
    """

    def __init__(
        self,
        videos: Sequence[VideoInput],
        writer: ResultWriter,
        expiry: float = EXPIRY,
        retry: bool = False,
        speaks: bool = True,
        folder: str | Path | None = None,
        segments: Mapping[str, Sequence[VideoInput]] | None = None,
    ) -> None:
        self.videos, self.writer = videos, writer
        self.folder = shared_folder(writer.folder, folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.claims = ClaimFiles(self.folder, expiry)
        self.records = FailureRecords(self.folder, writer.settings)
        self.segments = dict(segments or {})
        self._whole = {
            part.name: video for video in videos for part in self.segments.get(video.name, ())
        }
        self._items = [part for video in videos for part in self.segments.get(video.name, [video])]
        self._reasons: dict[str, str] = {}  # of segments too
        self._stopped = threading.Event()
        # taken over by others, who may not finish either
        self._lost = deque[VideoInput]()
        self._ended = deque[str]()  # videos of which this process has ended a segment
        self._joining = threading.Lock()
        self._by_name = {video.name: video for video in (*videos, *self._items)}
        self._settled = set[str]()
        self._tried = set[str]()
        if retry:
            for video in self._by_name.values():
                self.records.forget(video)
        reported = writer.folder.stamps()
        for video in self._by_name.values():
            self._is_settled(video, video.name in reported)
        names = [item.name for item in self._items if item.name not in self._settled]
        failed = sum(item.name in self._reasons for item in self._items)
        unit = "segments" if self.segments else "videos"
        self.progress = Progress(len(names), len(self._items), failed, unit=unit)
        self._seen: SharedProgress | None = None
        if speaks:
            of = {name: self._of(name).name for name in names}
            self._seen = SharedProgress(self.progress, of, writer.folder, self.folder)
        writer.claims = self

    @property
    def failed(self) -> dict[str, str]:
        """See above."""
        return {v.name: self._reasons[v.name] for v in self.videos if v.name in self._reasons}

    def __iter__(self) -> Iterator[VideoInput]:
        """Yields videos and segments for this process alone; waits while others have the rest.

        Where all segments of a video have been dealt with, they are joined in between.
        """
        left = self.open_items()
        # Each process begins somewhere else, so that they do not all ask for the same names.
        start = random.SystemRandom().randrange(len(left)) if left else 0
        left = left[start:] + left[:start]
        left += [video for video in self.open_videos() if video.name in self.segments]
        wait = _FIRST_WAIT
        while left or self._lost:
            while self._lost:
                left.append(self._lost.popleft())
            others = []
            for video in left:
                if self._stopped.is_set():
                    return
                while self._ended:
                    self._join(self._by_name[self._ended.popleft()])
                if video.name in self._tried or self._is_settled(video):
                    continue
                if video.name in self.segments:
                    if self._join(video) is _Join.LATER:
                        others.append(video)
                elif self._take(video):
                    wait = _FIRST_WAIT
                    yield video
                elif video.name not in self._settled:
                    others.append(video)
                if self._seen is not None:
                    self._seen.tell()
            left = others
            if left:
                self._stopped.wait(wait)
                wait = self._longer(wait)

    def __enter__(self) -> "SharedWork":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        with self._joining:  # which looks at that, and removes what it has begun
            pass
        if kind is not None and issubclass(kind, RuntimeError | MemoryError):
            self.claims.abandon()
        else:
            self.claims.close()

    def begin(self, name: str) -> Path:
        """See `Claims`."""
        self.claims.check(name)
        part = self._part(name, self.claims.attempt(name))
        shutil.rmtree(part, ignore_errors=True)  # of a process that was interrupted
        return part

    def check(self, name: str) -> None:
        """See `Claims`."""
        self.claims.check(name)

    def end(self, name: str, failure: str | None, damaged: bool) -> None:
        """See `Claims`; a fault of the video's own is put on record for all."""
        if failure is not None and damaged:
            with suppress(OSError):  # a full disk: this process knows
                self.records.add(self._by_name[name], failure)
            self._reasons[name] = failure
        if failure is None or damaged:
            self._settled.add(name)
        if name in self._whole:
            self._ended.append(self._whole[name].name)
        self.leave(name)
        if self._seen is not None:
            self._seen.tell()

    def leave(self, name: str) -> None:
        """See `Claims`."""
        attempt = self.claims.attempt(name)
        try:
            self.claims.check(name)
        except ClaimLostError:
            numbers = [attempt]  # the others belong to whoever took over
            self._tried.discard(name)
            self._lost.append(self._by_name[name])
        else:
            numbers = list(range(1, attempt + 1))
        for number in numbers:
            shutil.rmtree(self._part(name, number), ignore_errors=True)
        self.claims.release(name)

    def unfinished(self) -> dict[str, str]:
        """Name of a video -> why it is not done, of those in which no fault was found.

        A full disk for one; another process, or another run, may do them.
        """
        told, found = self.writer.failed, {}
        for video in self.open_videos():
            names = [video.name, *(part.name for part in self.segments.get(video.name, ()))]
            none = f"not predicted: {video.path}: no process has finished it: start this again"
            found[video.name] = next((told[name] for name in names if name in told), none)
        return found

    def open_videos(self) -> list[VideoInput]:
        """Those that nobody is done with."""
        return [video for video in self.videos if not self._is_settled(video)]

    def open_items(self) -> list[VideoInput]:
        """Likewise, in place of a long video its segments."""
        return [item for item in self._items if not self._is_settled(item)]

    def join(self, segment: str | None = None) -> None:
        """Joins long videos of which all segments have been dealt with.

        Args:
            segment: Joins its video alone, unless something is missing of that; None joins all of
                them, and waits where another process is about to.
        """
        if segment is not None:
            if segment in self._whole:
                self._join(self._whole[segment])
            return
        wait = _FIRST_WAIT
        while True:
            left = [v for v in self.open_videos() if v.name in self.segments]
            left = [v for v in left if all(map(self._is_settled, self.segments[v.name]))]
            if not any(self._join(video) is _Join.LATER for video in left):
                return
            if self._stopped.wait(wait):
                return
            wait = self._longer(wait)

    def clear(self) -> bool:
        """Removes the claims that processes of this machine have left when they ended.

        Returns:
            Whether there are others.
        """
        for name in {video.name for video in (*self.open_videos(), *self.open_items())}:
            if self.claims.take(name):
                self.leave(name)
        return any(self.folder.glob("*.claim"))

    def _take(self, video: VideoInput) -> bool:
        attempt = self.claims.take(video.name)
        if attempt is None:
            return False
        self._tried.add(video.name)
        if self._is_settled(video):  # another process was done with it a moment ago
            self.leave(video.name)
            return False
        if attempt > ATTEMPTS:
            reason = (
                f"not predicted: {video.path}: {ATTEMPTS} processes ended while they predicted it"
            )
            self.end(video.name, reason, damaged=True)
            return False
        return True

    def _of(self, name: str) -> VideoInput:
        """The video of a segment; any other video itself."""
        return self._whole.get(name) or self._by_name[name]

    def _longer(self, wait: float) -> float:
        return min(2 * wait, _LONGEST_WAIT, self.claims.expiry / 4)

    def _join(self, video: VideoInput) -> "_Join":
        """Joins the segments of a video, if it is time for that."""
        parts = self.segments[video.name]
        with self._joining:
            if self._stopped.is_set() or self._is_settled(video):
                return _Join.ENDED
            if waits := [part.name for part in parts if not self._is_done(part)]:
                # what this process has given up may still be done by others, or by the same command
                held = self.claims.holds
                given_up = any(name in self._tried and not held(name) for name in waits)
                return _Join.ENDED if given_up else _Join.LATER
            if not self._take(video):
                return _Join.ENDED if video.name in self._settled else _Join.LATER
            try:
                folder = cast(SegmentedFolder, self.writer.folder)
                reason = join_segments(self.writer, folder, parts, self._reasons, self._go_on)
            except _StoppedError:
                self.leave(video.name)
            except SegmentsGoneError:  # removed or replaced meanwhile: they are predicted again
                self._settled.difference_update(part.name for part in parts)
                self._tried.difference_update(part.name for part in (*parts, video))
                self._lost.extend((*parts, video))
                self.leave(video.name)
            except (OSError, ValueError) as error:
                reason = not_predicted(video, self.writer.told(error))
                self.writer.failed[video.name] = reason
                self.end(video.name, reason, damaged=False)
            else:
                self.end(video.name, reason, damaged=reason is not None)
                for record in self.folder.glob(f"{video.name}{MARK}*{FAILED}"):
                    record.unlink(missing_ok=True)  # the video has one of its own
        return _Join.ENDED

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError

    def _is_settled(self, video: VideoInput, reported: bool = True) -> bool:
        if video.name in self._settled:
            return True
        if video.name in self._whole and self._is_settled(self._whole[video.name]):
            return True
        return self._is_done(video, reported)

    def _is_done(self, video: VideoInput, reported: bool = True) -> bool:
        """`_is_settled` by what is there of the video, or the segment, itself."""
        if video.name in self._settled:
            return True
        reason = self.records.reason(video)
        if reason is not None:
            self._reasons[video.name] = reason
        elif not reported or not self.writer.finished(video):
            return False
        self._settled.add(video.name)
        return True

    def _part(self, name: str, attempt: int) -> Path:
        return self.folder / f"{name}.{attempt}.part"
