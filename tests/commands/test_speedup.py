"""dff speedup: what skipping frames gives for somebody's own model, on somebody's own video."""

import json
import re

import numpy as np
import pytest
from clips import write_moving_picture

from dff.commands.speedup import main
from dff.data.video.sources import open_video
from dff.data.video.writer import VideoWriter
from dff.inference.per_frame import load_per_frame
from dff.inference.speedup.measure import KeyDuration, Speedup, measure_speedup
from dff.inference.speedup.report import page, said, table

SEGMENTS = "torchvision:lraspp_mobilenet_v3_large"
DETECTS = "torchvision:ssdlite320_mobilenet_v3_large"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_moving_picture(tmp_path_factory.mktemp("videos") / "it's <mine>.mp4", 7)


@pytest.mark.parametrize("model", [SEGMENTS, DETECTS])
def test_table_picture_video_and_page_are_written(model, video, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--random_weights", "--device", "cpu", "--key_durations", "2", "5", "50"]
    main([str(video), "--model", model, *flags, "--output", str(out)])
    printed = capsys.readouterr().out
    assert "7 frames of 96 x 128" in printed and f"see {out / 'index.html'}" in printed
    report = json.loads((out / "speedup.json").read_text())
    rows = report["videos"][0]["rows"]
    assert [row["key_duration"] for row in rows] == [1, 2, 5]  # 50 is longer than the video
    assert rows[0]["ms_current"] is None and all(row["fps"] > 0 for row in rows)
    assert rows[0]["agreement"][0] in (1.0, None)
    assert [len(row["agreement"]) for row in rows] == [1, 2, 5]
    (half,) = out.glob("*.mp4")
    pictures = list(open_video(half))
    assert len(pictures) == 7 and pictures[0].shape == (96, 2 * 128 + 6, 3)
    text = (out / "index.html").read_text()
    assert "it_s_mine_" in text and "<mine>" not in text  # the name is safe in a page
    assert re.search(r"src='([^']+)'", text)[1] == half.name
    assert (out / "speedup.png").read_bytes().startswith(b"\x89PNG")


def test_a_still_video_agrees_with_itself():
    model = load_per_frame(SEGMENTS, random=True)
    frames = [np.full((64, 96, 3), 90, np.uint8)] * 5
    found = measure_speedup(model, "still", frames, [1, 4])
    assert found.rows[1].agreement == [pytest.approx(1)] * 4
    assert found.enough == 4 and found.size == (64, 96)


def row(duration, agreement, key=100.0, current=20.0):
    return KeyDuration(
        duration, 10.0 * duration, key, None if duration == 1 else current, agreement
    )


def test_the_sentences_follow_from_the_figures():
    rows = [row(1, [1.0]), row(2, [1.0, 0.94]), row(5, [1.0, 0.9, 0.8, 0.8, 0.8])]
    found = Speedup("a", "mIoU", 10, (64, 96), rows)
    assert (found.enough, found.break_even) == (2, 2)
    assert rows[2].worst == 0.8 and rows[2].mean == pytest.approx(0.86)
    pays, enough = said(found)
    assert pays == "Skipping frames pays from key duration 2 on."
    assert enough == "The largest key duration that keeps 95% agreement is 2: 2.0 times as fast."
    dear = Speedup("a", "mIoU", 10, (64, 96), [row(1, [1.0]), row(5, [None] * 5, current=150)])
    assert said(dear)[0].startswith("Skipping frames does not pay")
    assert "found nothing" in said(dear)[1] and " - " in table(dear)
    none = Speedup("a", "mIoU", 10, (64, 96), [row(1, [1.0]), row(5, [0.5] * 5)])
    assert said(none)[1].startswith("No key duration keeps 95%")
    assert "&lt;b&gt;" in page("<b>", [found], [("a.mp4", 2)], b"png")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--key_durations", "0"], "key duration 0: wanted at least 1"),
        (["--frames", "1"], "--frames 1: wanted two or more"),
        (["--model", "torchvision:resnet50"], "torchvision has no model 'resnet50' for"),
        (["--model", SEGMENTS, "--weights", "gone.pth"], "no weights at gone.pth"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(flags, words, video, tmp_path):
    if "--model" not in flags:
        flags = [*flags, "--model", SEGMENTS, "--random_weights"]
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        main([str(video), *flags, "--output", str(tmp_path / "out")])


def test_a_video_of_one_frame_is_too_short(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10, (64, 96)) as writer:
        writer.write(np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(ValueError, match="a has 1 frame: wanted two or more"):
        main([str(tmp_path / "a.mp4"), "--model", SEGMENTS, "--random_weights"])
