"""What has ended the processes that load a training's data, in one sentence."""

import errno
import re
import shutil
import traceback
from collections.abc import Iterator

_SHARED = re.compile(r"shared memory|Bus error|</torch_")
_ENDED = re.compile(r"DataLoader worker \(pid.*?\) (?:is killed by signal: (\w[\w ]*)|exited)")
_MEMORY = re.compile("MemoryError|not enough memory|can't allocate memory|out of memory")


def loader_fault(error: BaseException) -> str | None:
    """The reason and the cure, for people; None where the error is another one.

    Args:
        error: What a loader process has sent on, or what PyTorch says when one has died.
    """
    errors = list(_chain(error))
    words = "\n".join(map(str, errors))
    hidden = "iter(combined_loader)" in str(error) and [e for e in errors if isinstance(e, OSError)]
    if "Too many open files" in words or "received 0 items of ancdata" in words:
        return (
            "the loader processes have too many files open: allow more (ulimit -n 65536), "
            "or load in this process with --data.num_workers 0"
        )
    if hidden and hidden[0].errno not in (errno.ENOSPC, errno.EMFILE):
        return (
            f"the loader processes cannot be started ({hidden[0].strerror or hidden[0]}): "
            "load in this process with --data.num_workers 0"
        )
    if _SHARED.search(words) or hidden:
        return (
            f"the loader processes have too little shared memory{_room()}: give more of it "
            "(Docker: --shm-size 8g or --ipc=host), or load in this process with "
            "--data.num_workers 0"
        )
    ended = _ENDED.search(words)
    if ended or any(map(_fetches_from_the_dead, errors)):
        by_signal = ended and ended[1]
        how = f"was killed ({by_signal.strip()})" if by_signal else "has ended without a word"
        return (
            f"a loader process {how}: where nobody did that, memory ran out; set "
            "--data.num_workers or --data.batch_size lower, or see what it says with "
            "--data.num_workers 0"
        )
    if isinstance(error, MemoryError) or _MEMORY.search(words):
        last = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        return (
            f"memory ran out ({last[-1].strip()[:200]}): set --data.batch_size or "
            "--data.num_workers lower, or take smaller frames"
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it: Lightning's own, when it clears up, may hide the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _fetches_from_the_dead(error: BaseException) -> bool:
    """Whether a tensor was asked of the loader process that holds it, which has ended."""
    if not isinstance(error, OSError | EOFError):
        return False
    calls = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
    return "rebuild_storage_fd" in calls


def _room() -> str:
    try:
        return f" (/dev/shm has {shutil.disk_usage('/dev/shm').total / 2**20:.0f} MB in all)"
    except OSError:  # no such place on this system
        return ""
