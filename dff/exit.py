"""How a command ends: its exit code, and a user's mistake in one clear line.

Neither torch nor Lightning is imported here: what is not imported has raised nothing either.
"""

import atexit
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from dff.data.files.whole_files import in_words

USER_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, FloatingPointError)
"""Errors whose messages are written for people, here as in the packages, or by the system;
Lightning's MisconfigurationException is one of them."""

_LIGHTNING = "lightning.pytorch.utilities.exceptions"


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a command; a user's mistake ends in one clear line, anything else in its traceback.

    DFF_TRACEBACK=1 shows where a message came from. A process that was asked to end (SIGTERM) saves
    what it can and ends with 143.
    """
    # Asked a second time, while it ends, it ends without what Python would say of it.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    try:
        code = main()
    except USER_ERRORS + _imported(_LIGHTNING, "MisconfigurationException") as error:
        if os.environ.get("DFF_TRACEBACK"):
            raise
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(1)  # without a word: who ended it, such as head, wants no more
        print(f"error: {_last_words(_first(error))}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except _imported(_LIGHTNING, "SIGTERMException"):
        _terminated()  # Lightning has saved, and would end as if all were done
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        print("interrupted", file=sys.stderr)  # Lightning has saved, and would end with 1
        sys.exit(130)
    except ImportError as error:
        if error.name is not None or os.environ.get("DFF_TRACEBACK"):  # Python's own
            raise
        print(f"error: {error}", file=sys.stderr)  # an extra is not installed
        sys.exit(1)
    except (RuntimeError, MemoryError) as error:
        _end_in_words(error)
        raise
    sys.exit(code)


def _nobody_reads() -> bool:
    """Whether the pipe behind standard output is closed; then what waits for it is dropped."""
    if not hasattr(select, "poll"):  # Windows
        return False
    output = select.poll()
    output.register(sys.stdout, 0)
    if not output.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _end_in_words(error: RuntimeError | MemoryError) -> None:
    """Ends the process where the error is a known one; returns where it is none."""
    from dff.lit.loader_faults import loader_fault

    words = str(error)
    if "Connection closed by peer" in words or isinstance(
        error, _imported("torch.distributed", "DistError")
    ):
        print("error: another process of this run has ended; it says why", file=sys.stderr)
        sys.exit(1)
    if "is killed by signal: Terminated" in words:
        _terminated()  # a cluster asks a job's loader processes too, and they end first
    fault = loader_fault(error)
    if "PytorchStreamReader failed" in words:
        fault = "a checkpoint was cut or replaced while it was read: run the command again"
    if fault is None and "Error(s) in loading state_dict" in words:
        fault = (
            f"the checkpoint is of another model: {words.splitlines()[1].strip()} "
            "Give the settings that it was trained with"
        )
    if fault is not None and not os.environ.get("DFF_TRACEBACK"):
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(1)


def _imported(module: str, name: str) -> tuple[type[BaseException], ...]:
    """An exception's class as a tuple; an empty one where its module has not been imported."""
    found = getattr(sys.modules.get(module), name, None)
    return () if found is None else (found,)


def _terminated() -> NoReturn:
    print("terminated", file=sys.stderr)
    sys.exit(143)


def _first(error: BaseException) -> BaseException:
    """What making a model or data has raised, without the settings that the parser adds to it."""
    while "Does not validate against any" in str(error) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _last_words(error: BaseException) -> str:
    """The message; of an error that a loader process sent on, the last line of its traceback."""
    text = in_words(error) if isinstance(error, OSError) else str(error)
    if "Original Traceback" in text:
        last = [line for line in text.splitlines() if line.strip()][-1]
        text = last.split(": ", 1)[-1]
    return "; ".join([text, *getattr(error, "__notes__", [])])
