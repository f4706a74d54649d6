import os
import signal
import threading

import pytest

from dff.data.processes import call_in_processes

pytestmark = pytest.mark.timeout(240)  # a process starts slowly on a busy machine


def test_all_calls_are_made_in_other_processes_and_these_end(tmp_path):
    calls = [(tmp_path / str(number),) for number in range(5)]
    assert list(call_in_processes(os.mkdir, calls, 2)) == [None] * 5
    assert len(list(tmp_path.iterdir())) == 5


def test_an_error_comes_back_as_it_was_and_ends_the_calls(tmp_path):
    calls = [
        (tmp_path / "a",),
        (tmp_path / "no" / "b",),
        *[(tmp_path / f"{i}",) for i in range(99)],
    ]
    with pytest.raises(FileNotFoundError, match="no/b"):
        list(call_in_processes(os.mkdir, calls, 1))
    assert len(list(tmp_path.iterdir())) < 99


def test_what_is_printed_there_is_no_answer(capfd):
    assert list(call_in_processes(print, [("words",)], 1)) == [None]
    assert "words" in capfd.readouterr().err


def test_a_process_that_is_killed_is_told():
    calls = [(signal.SIGKILL,)]
    with pytest.raises(ChildProcessError, match=r"ended with code -9.*let fewer work at once"):
        list(call_in_processes(signal.raise_signal, calls, 1))


def test_a_caller_that_stops_early_waits_for_no_other_call(tmp_path):
    calls = [(tmp_path / str(number),) for number in range(200)]
    for _ in call_in_processes(os.mkdir, calls, 1):
        break
    assert len(list(tmp_path.iterdir())) < 200
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPool")]


def test_ctrl_c_reaches_the_caller_alone():
    """A terminal sends it to all processes."""
    assert list(call_in_processes(signal.raise_signal, [(signal.SIGINT,)], 1)) == [None]
