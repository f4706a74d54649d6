"""Videos shared by processes that know of each other by files alone."""

import pytest

from dff.data.video.sources import VideoInput
from dff.inference.cluster.progress import Progress
from dff.inference.cluster.shared_work import ATTEMPTS, SharedWork
from dff.inference.results.writer import ResultWriter


@pytest.fixture
def videos(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(b"a video")
    return [VideoInput(str(tmp_path / f"{name}.mp4"), name) for name in "abc"]


@pytest.fixture
def share(videos, tmp_path):
    """One process more, with its own writer."""

    def make(settings=None, **kwargs):
        return SharedWork(videos, ResultWriter(tmp_path / "out", {}, settings or {}), **kwargs)

    return make


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_video_goes_to_one_process(share, tmp_path):
    with share() as one, share() as two:
        first, second = iter(one), iter(two)
        got = [next(first).name, next(second).name, next(first).name]
        assert sorted(got) == ["a", "b", "c"]
        assert one.begin(got[0]) == tmp_path / "out" / ".claims" / f"{got[0]}.1.part"


def test_what_is_interrupted_is_free_again(share, tmp_path):
    with pytest.raises(KeyboardInterrupt), share() as work:
        next(iter(work))
        raise KeyboardInterrupt
    assert names(tmp_path / "out" / ".claims") == []
    with share() as work:
        assert work.claims.take("a") == work.claims.take("b") == work.claims.take("c") == 1


def test_a_video_on_which_processes_die_is_left_alone(share, tmp_path):
    for attempt in range(ATTEMPTS):
        with pytest.raises(RuntimeError), share() as work:
            work.claims.take("a")
            assert work.claims.attempt("a") == attempt + 1
            work.begin("a").mkdir()
            raise RuntimeError("out of memory")
    with share() as work:
        work.claims.take("b")
        work.end("b", None, damaged=False)
        work.claims.take("c")
        work.end("c", None, damaged=False)
        assert list(work) == []
        assert f"a.mp4: {ATTEMPTS} processes ended while they predicted it" in work.failed["a"]
    assert names(tmp_path / "out" / ".claims") == ["a.failed"]  # with all that was begun


def test_a_damaged_video_is_tried_once_by_all(share, videos, tmp_path):
    with share() as work:
        work.claims.take("b")
        work.end("b", "not predicted: b.mp4: damaged", damaged=True)
    with share() as work:
        assert work.failed == {"b": "not predicted: b.mp4: damaged"}
        asked = iter(work)
        assert {next(asked).name, next(asked).name} == {"a", "c"}
    with share({"key_duration": 2}) as work:
        assert work.failed == {}  # other settings
    with share(retry=True) as work:
        assert work.failed == {}
        work.claims.take("b")
        work.end("b", "not predicted: b.mp4: damaged", damaged=True)
    (tmp_path / "b.mp4").write_bytes(b"copied again")
    with share() as work:
        assert work.failed == {}


def test_a_full_disk_is_no_fault_of_the_video(share):
    with share() as work:
        asked = iter(work)
        name = next(asked).name
        work.writer.failed[name] = "not predicted: make room"
        work.end(name, "not predicted: make room", damaged=False)
        assert work.failed == {} and work.unfinished()[name] == "not predicted: make room"
        assert {next(asked).name, next(asked).name} == {"a", "b", "c"} - {name}
        with share() as other:
            assert other.claims.take(name) == 1


def test_who_stood_still_for_too_long_publishes_nothing(share, monkeypatch, tmp_path):
    monkeypatch.setattr("dff.inference.cluster.claim_files._machine", lambda: "")
    with share() as stalled, share() as other:
        stalled.claims.take("a")
        mine = stalled.begin("a")
        mine.mkdir()
        assert other.claims.take("a") is None
        other.claims.clock = lambda: 1e9
        assert other.claims.take("a") == 2
        theirs = other.begin("a")
        theirs.mkdir()
        with pytest.raises(ValueError, match="another process has taken over a"):
            stalled.check("a")
        stalled.end("a", "not predicted: taken over", damaged=False)
        assert theirs.is_dir() and not mine.exists()
        other.check("a")


def test_progress_counts_what_is_left():
    now = [0.0]
    progress = Progress(left=100, total=205, failed=5, clock=lambda: now[0])
    assert progress.line(0, 0) == "100 of 205 videos are predicted, 5 could not be"
    now[0] = 360.0
    assert progress.due()
    assert progress.line(18, 2) == (
        "118 of 205 videos are predicted, 7 could not be; 200 videos per hour, 24 min left"
    )
