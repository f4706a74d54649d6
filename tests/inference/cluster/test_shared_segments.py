"""Segments of a long video, shared by processes that know of each other by files alone."""

import json

import pytest
from clips import write_moving_picture

from dff.data.video.sources import VideoInput
from dff.data.video_source import source_of
from dff.inference.cluster.shared_work import SharedWork
from dff.inference.cluster.splitting import split_long
from dff.inference.results.folders import DiskFolder
from dff.inference.results.result_files import results_of
from dff.inference.results.segments import SegmentedFolder
from dff.inference.results.video_results import SECONDS
from dff.inference.results.writer import ResultWriter

FRAMES = 36


@pytest.fixture
def share(tmp_path):
    """One process more that shares a long video in segments, and what writes its results."""
    video = VideoInput(str(write_moving_picture(tmp_path / "long.mp4", FRAMES)), "long")

    def make(settings=None, frames=12, **kwargs):
        writer = ResultWriter(tmp_path / "out", {}, settings or {})
        shared = tmp_path / "out" / ".claims"
        writer.folder = SegmentedFolder(writer.folder, shared, results_of({}))
        return SharedWork([video], writer, segments=split_long([video], frames, 4), **kwargs)

    return make


def predict_segment(work, segment, shift=0):
    """What a writer does for a segment, without pictures; `shift` is by how many frames too far."""
    part = work.begin(segment.name)
    part.mkdir()
    first, end = segment.segment
    times = [(n + shift) / 10 for n in range(first, FRAMES if end is None else end)]
    report = {
        "source": source_of(segment), "settings": work.writer.settings, "frames": len(times),
        "key_frames": 1, "duration": times[-1] + 0.1,
        "seconds": dict.fromkeys((*SECONDS, "total"), 1.0), "times": times,
    }  # fmt: skip
    work.writer.folder.publish(part, segment.name, results_of({}), json.dumps(report))
    work.end(segment.name, None, damaged=False)


def test_who_has_given_up_a_segment_does_not_wait_for_it(share):
    with share() as work:
        for segment in work:
            work.writer.failed[segment.name] = "not predicted: make room"
            work.end(segment.name, "not predicted: make room", damaged=False)
        assert work.unfinished() == {"long": "not predicted: make room"}
        assert work.failed == {}


def test_a_video_is_joined_as_soon_as_its_last_segment_is_there(share):
    with share() as one:
        for segment in one:
            predict_segment(one, segment)
        report = one.writer.folder.report("long")
        assert report["frames"] == FRAMES and report["segments"] == 3
        assert report["times"] == [n / 10 for n in range(FRAMES)]
        assert not one.writer.folder.segments.work.exists()
        assert one.unfinished() == one.failed == {}


def test_segments_that_have_gone_are_predicted_again(share):
    with share() as work:
        predicted = []
        for segment in work:
            predicted.append(segment.name)
            predict_segment(work, segment)
            if len(predicted) == 2:  # somebody clears up
                work.writer.folder.remove(lambda name: name == "long")
        assert len(predicted) == 5 and len(set(predicted)) == 3
        assert work.writer.folder.report("long")["frames"] == FRAMES


def test_segments_of_two_lengths_do_not_meet(share):
    with share(frames=8) as one, share(frames=12) as other:
        predict_segment(other, next(iter(other)))
        for segment in one:
            predict_segment(one, segment)
        assert one.writer.folder.report("long")["segments"] == 4
        assert list(other) == [] and other.unfinished() == {}


def test_segments_that_overlap_are_refused(share):
    with share() as work:
        for segment in work:
            predict_segment(work, segment, shift=-2 if segment.segment[0] else 0)
        assert "its frames cannot be found by their times" in work.unfinished()["long"]


def test_a_join_that_is_interrupted_leaves_nothing_behind(share, monkeypatch):
    with share() as work:
        asked = iter(work)
        for segment in [next(asked), next(asked)]:
            predict_segment(work, segment)
        predict_segment(work, next(asked))
        begin = work.begin

        def interrupted(name):
            part = begin(name)
            part.mkdir()
            work._stopped.set()  # as at Ctrl-C, in the other thread
            return part

        monkeypatch.setattr(work, "begin", interrupted)
        assert next(asked, None) is None
    left = {path.name for path in work.folder.iterdir()}
    assert left == {work.writer.folder.segments.work.name}
    with share() as work:
        assert list(work) == []
        assert work.writer.folder.report("long")["frames"] == FRAMES


def test_what_an_interrupted_attempt_has_begun_is_gone(share):
    with share() as work:
        segment = next(iter(work))
        work.begin(segment.name).mkdir()
        assert not work.begin(segment.name).exists()


def test_a_join_of_a_silent_process_is_taken_over_by_who_only_joins(share, monkeypatch):
    """As the driver of a Ray cluster, which looks at all of them at its end."""
    monkeypatch.setattr("dff.inference.cluster.claim_files._machine", lambda: "")
    with share(expiry=0.5) as dead, share(expiry=0.5) as work:
        parts = work.segments["long"]
        for part in parts:
            assert dead.claims.take(part.name)
            predict_segment(dead, part)
        assert dead.claims.take("long")
        dead.claims._ended.set()  # no heartbeat from here on
        work.join()
        assert work.writer.folder.report("long")["frames"] == FRAMES


def test_files_that_nobody_can_join_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match=r"writes NAME\.depth\.npz, and nobody knows how to join"):
        SegmentedFolder(DiskFolder(tmp_path), tmp_path, (*results_of({}), ".depth.npz"))


def test_a_segments_folder_that_has_just_gone_is_made_again(tmp_path, monkeypatch):
    folder = SegmentedFolder(DiskFolder(tmp_path), tmp_path / "shared", ())
    prepare, calls = DiskFolder.prepare, []

    def once(self):
        calls.append(1)
        if len(calls) > 1:  # after the first time somebody has removed it
            prepare(self)

    monkeypatch.setattr(DiskFolder, "prepare", once)
    folder.publish(tmp_path / "begun", "a@0000000-", (), "{}")
    assert (folder.segments.work / "a@0000000-.json").exists()
