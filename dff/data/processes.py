"""Calls in several fresh processes that know nothing of the script they are made for."""

import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

_SERVE = "import sys; sys.path[:] = {path!r}; from dff.data.processes import serve; serve()"


def call_in_processes(
    function: Callable[..., None], calls: Iterable[tuple[Any, ...]], processes: int
) -> Iterator[None]:
    """Makes all calls in several processes, and yields once for each that is done.

    The processes of `multiprocessing` run the caller's script again where nothing else tells them
    what its functions are. Without `if __name__ == "__main__":` around them, its commands run in
    each, and from standard input there is no script to run. These import the function's module.

    Interrupted, or after an error, it waits for the calls that are begun and makes no other. The
    processes end with this one, whatever ends it.

    Args:
        function: Of a module that can be imported; gives nothing back.
        calls: Its arguments, which can be pickled.
        processes: How many, at least 1.

    Raises:
        Exception: What a call has raised.
        ChildProcessError: A process was killed.
    """
    idle: SimpleQueue[_Process] = SimpleQueue()

    def call(arguments: tuple[Any, ...]) -> None:
        process = idle.get()
        try:
            process.call(function, arguments)
        finally:
            idle.put(process)

    with ExitStack() as opened, ThreadPoolExecutor(processes) as threads:
        for _ in range(processes):
            idle.put(opened.enter_context(_Process()))
        jobs = [threads.submit(call, arguments) for arguments in calls]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


class _Process:
    """A process that makes one call after the other; it ends when its input is closed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def call(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        into, out = self._process.stdin, self._process.stdout
        assert into is not None and out is not None  # pipes
        try:
            pickle.dump((function, arguments), into)
            into.flush()
            error = pickle.load(out)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._process.wait()
            raise ChildProcessError(
                f"one of the processes that share the work has ended with code {code}: "
                "where nobody has killed it, memory ran out, so let fewer work at once"
            ) from None
        if error is not None:
            raise error


def serve() -> None:
    """Makes the calls that come in until there are no more; answers each with its error or None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides what Ctrl-C ends
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        error: Exception | None = None
        try:
            function(*arguments)
        except Exception as raised:
            error = raised
        try:
            answer = pickle.dumps(error)
        except Exception:  # an error that holds what cannot be sent
            answer = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
        answers.write(answer)
        answers.flush()
