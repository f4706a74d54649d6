"""Work done beside the networks, in one thread and in order."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Background:
    """Does jobs one after the other in a thread of its own; few of them wait, so memory is bounded.

    Decoders, encoders and networks let other threads run while they compute. A job that is meant
    to survive its errors handles them itself: any other comes out of the next `do`, or of `finish`.

    Args:
        depth: Most jobs that are begun or waiting, at least 1.

    Raises:
        ValueError: The depth is out of its range.
    """

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth {depth}: wanted at least 1 job")
        self.depth = depth
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="background")
        self._jobs: deque[Future] = deque()

    def do(self, job: Callable[..., None], *arguments: Any) -> None:
        """Takes a job; waits while too many are not done.

        Raises:
            Exception: What an earlier job has raised.
        """
        self.check()
        while len(self._jobs) >= self.depth:
            self._jobs.popleft().result()
        self._jobs.append(self._thread.submit(job, *arguments))

    def check(self) -> None:
        """Raises what a job has raised that is done, while nothing else is asked of this."""
        while self._jobs and self._jobs[0].done():
            self._jobs.popleft().result()

    def finish(self) -> None:
        """Waits for all jobs, and ends the thread.

        Raises:
            Exception: What a job has raised; those after it are done all the same.
        """
        self._thread.shutdown()
        while self._jobs:
            self._jobs.popleft().result()

    def cancel(self) -> None:
        """Forgets the jobs that wait, waits for the one that is begun, and ends the thread."""
        self._thread.shutdown(cancel_futures=True)
        self._jobs.clear()
