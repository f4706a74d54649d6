import os
import subprocess
import sys
import threading
import time

import pytest

from dff.data.read_ahead import ReadAhead

pytestmark = pytest.mark.timeout(60)


def readers() -> int:
    return sum(thread.name == "read ahead" for thread in threading.enumerate())


def test_all_items_come_in_order_and_the_thread_ends():
    assert list(ReadAhead(range(100), 3)) == list(range(100))
    assert list(ReadAhead([])) == []
    assert readers() == 0


def test_it_can_be_iterated_again_where_its_source_can():
    numbers = ReadAhead([1, 2])
    assert [list(numbers), list(numbers)] == [[1, 2], [1, 2]]


def test_items_are_made_beside_the_consumer_and_few_of_them_wait():
    made = []

    def source():
        for number in range(20):
            made.append(threading.current_thread())
            yield number

    for taken, _ in enumerate(ReadAhead(source(), 3), 1):
        deadline = time.monotonic() + 10
        while len(made) < min(taken + 3, 20) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.002)
        assert len(made) == min(taken + 3, 20)
    assert threading.main_thread() not in made


def test_an_error_comes_in_the_place_of_its_item():
    def source():
        yield 1
        yield 2
        raise LookupError("the third")

    got = []
    with pytest.raises(LookupError, match="the third"):
        for item in ReadAhead(source(), 5):
            got.append(item)
    assert got == [1, 2] and readers() == 0


def test_a_source_that_cannot_be_iterated_is_told():
    with pytest.raises(TypeError, match="not iterable"):
        list(ReadAhead(7))


def test_a_consumer_that_stops_early_leaves_no_thread_and_a_closed_source():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    for _ in ReadAhead(source(), 2):
        break
    assert closed.wait(10) and readers() == 0


def test_a_source_that_blocks_holds_up_neither_the_check_nor_the_end():
    gate, asked = threading.Event(), []

    def source():
        yield 1
        gate.wait()

    def check():
        asked.append(1)
        if len(asked) == 5:
            raise TimeoutError("asked to end")

    began, got = time.monotonic(), []
    with pytest.raises(TimeoutError, match="asked to end"):
        for item in ReadAhead(source(), 2, check):
            got.append(item)
    assert got == [1] and time.monotonic() - began < 10
    gate.set()


BLOCKED = """
import os, signal, sys, threading
from dff.data.read_ahead import ReadAhead

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

def source():
    yield 1
    print("blocked", flush=True)
    open(sys.argv[1]).read()

for item in ReadAhead(source(), 2):
    pass
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_read_that_blocks_holds_up_neither_ctrl_c_nor_the_exit(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED, str(pipe)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"blocked\n"
        process.send_signal(2)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert b"KeyboardInterrupt" in said and process.returncode in (-2, 130)


def test_nothing_ahead_is_refused():
    with pytest.raises(ValueError, match="0 items ahead: wanted at least 1"):
        ReadAhead([], 0)
