"""dff fit-schedule, dff compare-schedules, and dff predict --schedule, on a per-frame model."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dff.commands.predict import main as predict
from dff.commands.schedules.compare import main as compare_main
from dff.commands.schedules.fit import main as fit_main
from dff.data.video.writer import VideoWriter
from dff.inference.schedules.comparison import adaptive_key_frames, chosen_gaps, compare
from dff.inference.schedules.observation import Observation, count_frame
from dff.inference.tasks.segmentation import Segmentation

MODEL = "module:bright.model:make"
SOURCE = '''
"""A model that calls each bright pixel 1."""

import torch
import torch.nn.functional as F


class Bright(torch.nn.Module):
    names = ("dark", "bright")

    def encode(self, image):
        return F.avg_pool2d(image, 8)

    def decode(self, maps, size):
        shown = F.interpolate(maps, size=size, mode="bilinear")
        return (shown.mean(1) > 0.5).long()


make = Bright
'''


def scene(seed, count, step):
    """Frames of a picture that moves on by `step` pixels each."""
    coarse = torch.rand(1, 3, 16, 64, generator=torch.Generator().manual_seed(seed))
    wide = F.interpolate(coarse, scale_factor=12, mode="bicubic").clamp(0, 1)
    wide = (wide[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return [wide[:96, step * i : step * i + 128] for i in range(count)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """16 frames that stand still, 12 that move fast, and a cut to 12 that stand still."""
    path = tmp_path_factory.mktemp("videos") / "mine.mp4"
    with VideoWriter(path, 10, (96, 128)) as writer:
        for frame in [*scene(0, 16, 0), *scene(0, 12, 10), *scene(5, 12, 0)]:
            writer.write(frame)
    return path


@pytest.fixture(autouse=True)
def own_model(tmp_path, monkeypatch):
    (tmp_path / "bright").mkdir()
    (tmp_path / "bright" / "model.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def keys_of(video, out, *words):
    assert predict(["--model", MODEL, str(video), "--output", str(out), *words]) == 0
    return json.loads((out / "mine.json").read_text())


def test_a_learned_schedule_is_trained_compared_and_used(video, tmp_path, capsys):
    learned = tmp_path / "schedule.pth"
    words = [MODEL, "--videos", str(video), "--output", str(learned), "--longest", "12"]
    fit_main([*words, "--every", "2"])
    assert "the agreement is foretold with a mean error of 0." in capsys.readouterr().out
    flags = ["--key_durations", "5", "10", "--longest", "12", "--output", str(tmp_path / "out")]
    compare_main([MODEL, "--videos", str(video), "--learned", str(learned), *flags])
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "schedules.json").read_text())
    rows = {(row["schedule"], row["asked"]): row for row in report["rows"]}
    assert {name for name, _ in rows} == {"fixed", "change", "learned", "oracle"}
    for (name, asked), row in rows.items():
        keys = row["key_frames"][0]
        assert len(keys) <= 40 // asked and keys[0] == 0
        assert (28 in keys) or name in ("fixed", "oracle")  # the cut
        assert row["accuracy"] <= rows["oracle", asked]["accuracy"] + 0.02
        assert (row["fps"] is None) == (name == "oracle") and name in printed
    assert rows["change", 10]["accuracy"] > rows["fixed", 10]["accuracy"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/png") == 2 and "5th percentile" in page
    found = keys_of(video, tmp_path / "p", "--schedule", str(learned), "--key_duration", "8")
    assert 4 <= found["key_frames"] <= 6 and found["settings"]["key_duration"] == 8


def test_other_settings_of_a_schedule_are_other_results(video, tmp_path, capsys):
    few = keys_of(video, tmp_path / "p", "--schedule", "change", "--threshold", "9")
    many = keys_of(video, tmp_path / "p", "--schedule", "change", "--threshold", "0.01")
    assert few["key_frames"] == 2  # the first frame, and the cut
    assert many["key_frames"] > 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which videos: give --videos FILE..., or --data NAME"),
        (["--videos", "no.mp4"], "no.mp4"),
        (["--videos", "{video}", "--frames", "1"], "--frames 1 --longest 20"),
        (["--videos", "{video}", "--key_durations", "30"], "--key_durations 30: at most"),
        (["--videos", "{video}", "--learned", "no.pth"], "no learned schedule at no.pth"),
    ],
)
def test_what_cannot_be_compared_is_said(words, said, video):
    words = [word.format(video=video) for word in words]
    with pytest.raises((ValueError, FileNotFoundError), match=said) as told:
        compare_main([MODEL, *words])
    assert "\n" not in str(told.value)


def test_too_few_pairs_to_learn_from(tmp_path):
    with VideoWriter(tmp_path / "short.mp4", 10, (96, 128)) as writer:
        for frame in scene(0, 4, 2):
            writer.write(frame)
    with pytest.raises(ValueError, match="pairs of frames with a known agreement: wanted 50"):
        fit_main([MODEL, "--videos", str(tmp_path / "short.mp4")])


def test_all_have_as_many_key_frames_and_the_oracle_the_best_mean():
    task, rng = Segmentation(3), np.random.default_rng(0)
    counter = task.accuracy([0])
    label = torch.zeros(1, 2, 2, dtype=torch.long)
    counted = [
        [count_frame(counter, label, {"mask": label}, 0, f + g) for g in range(min(6, 30 - f))]
        for f in range(30)
    ]
    accuracy = rng.random((30, 6)) * np.linspace(1, 0.5, 6)
    accuracy[np.arange(30)[:, None] < np.arange(6)] = np.nan
    need = np.where(np.arange(6) > 0, 1 - accuracy, np.nan)
    seen = [Observation("a", counted, accuracy, {"exact": need})]
    rows = {row.schedule: row for row in compare(task, seen, [3])}
    assert rows["fixed"].keys == rows["oracle"].keys == 10 and rows["exact"].keys <= 10
    assert rows["oracle"].mean >= max(rows["fixed"].mean, rows["exact"].mean)
    assert rows["exact"].enough == 5  # the longest wait of 6 alone: here all is right
    assert rows["fixed"].accuracy == 1.0 and rows["fixed"].worst <= rows["fixed"].mean
    assert list(rows["exact"].key_frames[0]) == adaptive_key_frames(need, rows["exact"].threshold)
    assert chosen_gaps([0, 3], 5) == [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1)]
    with pytest.raises(ValueError, match="key duration 7: at most 6 was looked at"):
        compare(task, seen, [7])
