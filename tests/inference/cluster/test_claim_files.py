"""Claims on names: one owner at a time, whoever dies or stands still."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest

from dff.inference.cluster import claim_files
from dff.inference.cluster.claim_files import ClaimFiles, ClaimLostError
from dff.inference.results.claims import make_once


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def elsewhere(monkeypatch):
    """As on several machines: nobody learns by a lock that a process has ended."""
    monkeypatch.setattr(claim_files, "_machine", lambda: "")


@pytest.fixture
def claims(tmp_path):
    """Makes the claims of one process more; its heart beats too seldom to beat in a test."""
    made = []

    def make(expiry=1000.0):
        made.append(ClaimFiles(tmp_path, expiry, Clock()))
        return made[-1]

    yield make
    for each in made:
        each.abandon()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_name_has_one_owner_until_it_is_free(claims, tmp_path):
    one, two = claims(), claims()
    assert one.take("a") == 1
    assert two.take("a") is None
    assert two.take("a.1") == 1  # another name, though its file is named almost alike
    one.check("a")
    one.release("a")
    assert two.take("a") == 1
    two.close()
    assert files(tmp_path) == []


@pytest.mark.usefixtures("elsewhere")
def test_a_silent_owner_is_taken_over_by_one_and_learns_of_it(claims, tmp_path):
    stalled, one, two = claims(), claims(), claims()
    stalled.take("a")
    assert one.take("a") is None and two.take("a") is None
    one.clock.now = two.clock.now = 1001.0
    assert one.take("a") == 2
    assert two.take("a") is None  # that claim is a new one
    one.check("a")
    with pytest.raises(ClaimLostError, match="has taken over a, as this one was silent for more"):
        stalled.check("a")
    stalled.release("a")
    assert files(tmp_path) == ["a.1.claim", "a.2.claim"]  # what is not its own stays
    one.release("a")
    assert files(tmp_path) == []


@pytest.mark.usefixtures("elsewhere")
def test_a_heartbeat_keeps_a_claim(claims, tmp_path):
    owner, other = claims(expiry=0.3), claims(expiry=1000.0)
    owner.take("a")
    other.take("a")
    changed = (tmp_path / "a.1.claim").stat().st_mtime_ns
    deadline = time.monotonic() + 60
    while (tmp_path / "a.1.claim").stat().st_mtime_ns == changed:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    other.clock.now = 1001.0  # a long time, in which it was heard of
    assert other.take("a") is None


@pytest.mark.usefixtures("elsewhere")
def test_clocks_of_machines_are_not_compared(claims, tmp_path):
    owner, other = claims(), claims()
    owner.take("a")
    os.utime(tmp_path / "a.1.claim", (0, 0))  # a file server whose clock is years behind
    assert other.take("a") is None
    other.clock.now = 999.0
    assert other.take("a") is None


def test_a_process_that_was_killed_is_taken_over_at_once_on_its_machine(claims, tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from dff.inference.cluster.claim_files import ClaimFiles\n"
        "assert ClaimFiles(Path(sys.argv[1])).take('a') == 1\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert files(tmp_path) == ["a.1.claim"]
    assert claims().take("a") == 2  # and no clock has moved


@pytest.mark.parametrize("links", [True, False])
def test_of_many_one_makes_a_file(links, tmp_path, monkeypatch):
    if not links:

        def refuse(*args):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    made, start = [], threading.Barrier(8)

    def make(number):
        start.wait()
        made.append(make_once(tmp_path / "file", str(number).encode()))

    threads = [threading.Thread(target=make, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [file for file in made if file is not None]
    winner.seek(0)
    assert (tmp_path / "file").read_bytes() == winner.read() != b""
    assert files(tmp_path) == ["file"]
    winner.close()


def test_a_lost_answer_of_a_file_server_is_no_lost_claim(tmp_path, monkeypatch):
    link = os.link

    def twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    file = make_once(tmp_path / "file", b"mine")
    assert file is not None
    file.close()


def test_an_expiry_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expire after 0 seconds: wanted more"):
        ClaimFiles(tmp_path, 0)
