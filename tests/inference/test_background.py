"""Work beside the networks: in order, bounded, and no error is lost."""

import threading

import pytest

from dff.inference.background import Background


def test_jobs_are_done_in_order_in_one_other_thread():
    done, background = [], Background(2)
    for number in range(20):
        background.do(lambda n: done.append((n, threading.get_ident())), number)
    background.finish()
    assert [number for number, _ in done] == list(range(20))
    assert len({thread for _, thread in done} - {threading.get_ident()}) == 1


def test_no_more_jobs_wait_than_the_depth_allows():
    gate, taken, background = threading.Event(), [], Background(2)

    def give():
        for number in range(4):
            background.do(gate.wait)
            taken.append(number)

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.2)
    assert taken == [0, 1] and giver.is_alive()  # one begun, one waiting, and no room for more
    gate.set()
    giver.join()
    background.finish()
    assert taken == [0, 1, 2, 3]


def test_an_error_comes_out_at_the_end_or_before():
    gate, done, background = threading.Event(), [], Background(3)

    def fail():
        gate.wait()
        raise RuntimeError("broken job")

    background.do(fail)
    background.do(done.append, 1)
    gate.set()
    with pytest.raises(RuntimeError, match="broken job"):
        background.finish()
    assert done == [1]

    background = Background(1)
    background.do(fail)
    with pytest.raises(RuntimeError, match="broken job"):
        background.do(done.append, 2)
    background.cancel()
    assert done == [1]


def test_cancelling_ends_the_job_that_is_begun_and_forgets_the_others():
    begun, gate, done, background = threading.Event(), threading.Event(), [], Background(3)

    def work():
        begun.set()
        gate.wait()
        done.append("begun")

    background.do(work)
    background.do(done.append, "waiting")
    begun.wait()
    threading.Timer(0.05, gate.set).start()
    background.cancel()
    assert done == ["begun"]
    background.cancel()


def test_a_depth_of_0_is_told():
    with pytest.raises(ValueError, match="depth 0: wanted at least 1"):
        Background(0)
