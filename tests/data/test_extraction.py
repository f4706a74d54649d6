"""`dff extract`: the frames of a video as images, and a run that goes on where it was stopped."""

import re

import numpy as np
import pytest
from clips import number_of, write_clip

from dff.commands.data.extract import main
from dff.data.extraction import Extraction
from dff.data.files.images import read_image


def test_frames_have_the_numbers_and_pixels_that_they_have_in_the_video(tmp_path, capsys):
    write_clip(tmp_path / "clip.mp4", count=20)
    main(
        [
            *(str(tmp_path / "clip.mp4"), "--output", str(tmp_path / "out"), "--step", "4"),
            *("--start", "3", "--end", "16", "--format", "png", "--names", "f_{:03d}"),
        ]
    )
    files = sorted((tmp_path / "out" / "clip").iterdir())
    assert [f.name for f in files] == ["f_003.png", "f_007.png", "f_011.png", "f_015.png"]
    assert [number_of(read_image(f)) for f in files] == [3, 7, 11, 15]
    assert "clip: 4 frames written\n1 of 1 videos extracted" in capsys.readouterr().out


def test_what_is_there_stays_as_it_is_and_the_rest_is_written(tmp_path, capsys):
    write_clip(tmp_path / "clip.mp4", count=6)
    words = [str(tmp_path / "clip.mp4"), "--output", str(tmp_path / "out")]
    main(words)
    folder = tmp_path / "out" / "clip"
    (folder / "000002.jpg").write_bytes(b"mine")
    (folder / "000004.jpg").unlink()
    capsys.readouterr()
    main(words)
    assert "1 frames written, 5 were there already" in capsys.readouterr().out
    assert (folder / "000002.jpg").read_bytes() == b"mine"
    assert number_of(read_image(folder / "000004.jpg")) == 4


def test_a_damaged_video_stops_no_other_and_keeps_its_good_frames(tmp_path, capsys):
    write_clip(tmp_path / "a.mp4", count=30, noise=40)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    write_clip(tmp_path / "b.mp4", count=3)
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "error: " in said and "b: 3 frames written" in said and "1 of 2 videos" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"step": 0}, "wanted a step from 1"),
        ({"start": 5, "end": 5}, "an end behind it"),
        ({"quality": 0}, "wanted 1 to 100"),
        ({"names": "frame"}, "wanted one place for the number"),
        ({"names": "../{}"}, "another folder"),
        ({"names": "{a}"}, "no format of a number"),
    ],
)
def test_arguments_out_of_their_range_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Extraction(**wrong)


def test_quality_is_that_of_the_jpeg():
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert len(Extraction(quality=30).encoded(frame)) < len(Extraction(quality=95).encoded(frame))


def test_frames_of_another_video_or_of_other_settings_never_mix(tmp_path, capsys):
    for folder, count in (("one", 6), ("two", 8)):
        (tmp_path / folder).mkdir()
        write_clip(tmp_path / folder / "clip.mp4", count=count)
    out = ["--output", str(tmp_path / "out")]
    main([str(tmp_path / "one" / "clip.mp4"), *out])
    before = {path: path.read_bytes() for path in (tmp_path / "out" / "clip").iterdir()}
    for words, told in (
        ([str(tmp_path / "two" / "clip.mp4")], "has the frames of .*one/clip.mp4, another video"),
        ([str(tmp_path / "one" / "clip.mp4"), "--step", "2"], "were taken with step 1: give ano"),
    ):
        with pytest.raises(SystemExit):
            main([*words, *out])
        assert re.search(told, capsys.readouterr().out)
    assert {path: path.read_bytes() for path in (tmp_path / "out" / "clip").iterdir()} == before
    main([str(tmp_path / "one" / "clip.mp4"), *out])
    (tmp_path / "out" / ".clip.extracted.json").write_text("{")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "one" / "clip.mp4"), *out])
    assert "extracted.json is damaged: remove it" in capsys.readouterr().out
