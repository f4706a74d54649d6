"""Why loader processes died, as people are told it."""

import os
import re
import signal
import time
from multiprocessing import resource_sharer
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dff.exit import run_script
from dff.lit.loader_faults import loader_fault

FULL = "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
BUS = (
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit."
)
WRAPPED = (
    f"Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (..):\n  x\n{FULL}"
)
SHARED = "too little shared memory.*--shm-size 8g or --ipc=host.*--data.num_workers 0"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(WRAPPED), SHARED),
        (RuntimeError(FULL), SHARED),
        (RuntimeError(BUS), SHARED),
        (RuntimeError("unable to mmap 99 bytes from file </torch_1>: Cannot allocate"), SHARED),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), r"killed \(Kill"),
        (
            RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
            r"has ended without a word.*--data.num_workers 0",
        ),
        (RuntimeError("Too many open files. Communication with the"), "ulimit -n"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
        (MemoryError(), r"memory ran out \(MemoryError\).*--data.batch_size"),
        (
            MemoryError("Caught X in DataLoader worker\n  y\nX: Unable to allocate 6.00 GiB"),
            r"memory ran out \(X: Unable to allocate 6.00 GiB\)",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "CUDA out of mem"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "ran out"),
    ],
)
def test_a_sentence_with_the_cure(error, said, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(said, last)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (RuntimeError(FULL), SHARED),
        (OSError(28, "No space left on device"), SHARED),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (
            PermissionError(13, "Permission denied"),
            r"cannot be started \(Permission denied\): load",
        ),
    ],
)
def test_what_lightning_hides_when_it_clears_up_is_found(first, said):
    with pytest.raises(RuntimeError) as told:
        try:
            raise first
        finally:
            raise RuntimeError("Please call `iter(combined_loader)` first.")
    assert re.search(said, loader_fault(told.value))


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), RuntimeError("")])
def test_other_errors_are_no_fault_of_the_loader(error):
    assert loader_fault(error) is None


class Dies(Dataset):
    def __init__(self, how):
        self.how = how

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            if isinstance(self.how, int):
                os.kill(os.getpid(), self.how)
            np.zeros(1 << 50, np.uint8)
        return index


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (signal.SIGKILL, r"a loader process (was killed \(Killed\)|has ended)"),
        (signal.SIGBUS, "too little shared memory|has ended"),
        (signal.SIGSEGV, r"a loader process (was killed \(Segmentation fault\)|has ended)"),
        ("memory", "memory ran out .*Unable to allocate 1.00 PiB"),
    ],
)
@pytest.mark.timeout(120)
def test_what_pytorch_really_says_is_known(how, said):
    with pytest.raises((RuntimeError, MemoryError, OSError, EOFError)) as told:
        try:
            list(DataLoader(Dies(how), num_workers=1))
        finally:
            time.sleep(0.5)  # PyTorch's handler of SIGCHLD may raise a little later
    assert re.search(said, loader_fault(told.value) or "")


@pytest.mark.parametrize("lost", [ConnectionResetError(104, "reset by peer"), EOFError()])
def test_a_tensor_asked_of_a_loader_that_has_ended(lost, monkeypatch):
    """It may end between two batches: then not PyTorch, but the connection says so."""

    def get_connection(_):
        raise lost

    monkeypatch.setattr(resource_sharer._resource_sharer, "get_connection", get_connection)
    with pytest.raises(type(lost)) as told:
        ForkingPickler.loads(ForkingPickler.dumps(torch.zeros(3)))
    assert re.search("has ended without a word", loader_fault(told.value) or "")
    assert loader_fault(ConnectionResetError(104, "of a camera, say")) is None


def test_ctrl_c_within_lightnings_loop_ends_as_anywhere_else(capsys):
    def main():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904  (as Lightning does)

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 130 and capsys.readouterr().err == "interrupted\n"
