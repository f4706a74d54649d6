"""Signals while work runs: Ctrl-C, a request to end, a killed process, and work that blocks."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from place import Fault, Place, write_clip, write_folder_data
from warm import Command, Running

SIGINT, SIGTERM, SIGKILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL
During = Callable[[Running, Place], None]


# ------------------------------------------------------------------ what is done to a command


def when(words: str, number: int, later: float = 0.0) -> During:
    """Sends a signal some time after the command has said something."""

    def during(running: Running, place: Place) -> None:
        while words not in running.said() and not running.ended():
            time.sleep(0.01)
        time.sleep(later)
        if not running.ended():
            running.send(number)  # 0 only asks whether it is there

    return during


def at_random(number: int, seed: int, longest: float) -> During:
    """Sends a signal at a random moment within some seconds."""
    return when("", number, random.Random(seed).uniform(0, longest))


def kill_a_loader(running: Running, place: Place) -> None:
    """Kills one of the processes that a training loads its data with, once it trains."""
    when("train/loss", 0, 1.0)(running, place)  # some steps on, as the first may not count yet
    loaders = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(loaders[-1]), SIGKILL)


# ------------------------------------------------------------------------------ the commands


def predict_two(place: Place, **kwargs: object) -> Command:
    write_clip(place.folder / "other.mp4", count=40)
    return place.predict(place.clip, "other.mp4", **kwargs)


def long_fit(place: Place, *words: str) -> Command:
    return place.fit("--trainer.max_steps=100000", "--trainer.log_every_n_steps=1", *words)


def reproduce(place: Place) -> Command:
    flags = [w for w in place.fit().words[1:] if w not in ("--output", "out", "--name", "run")]
    return place.command(
        *("reproduce.py", "--config", "streets", "--table", "4"),
        *("--output", "out", "--seeds", "1", "--flow_weights", place.shared / "flow.ckpt"),
        *("--skip", "sff_slow", "sff_fast", "sff_dis", "separate", "no_scale", "fix_n", "fix_f"),
        *(flag for flag in flags if "monitor" not in flag),
    )


def draw(place: Place, **kwargs: object) -> Command:
    words = ("--train_videos=6", "--val_videos=2", "--frames=6", "--val_frames=6")
    return place.command(
        *("draw_streets.py", "out", *words, "--height=64", "--width=128", "--workers=2"), **kwargs
    )


def pipe_for_a_mask(place: Place) -> Command:
    data = write_folder_data(place.folder / "mine")
    for file in (place.folder / "mine" / "train" / "masks" / "a").iterdir():
        file.unlink()
        os.mkfifo(file)
    return place.fit("--data.num_workers=1", data=data)


def pipe_for_a_video(place: Place) -> Command:
    """A video whose bytes stop coming: a pipe that opens as a file does."""
    setup = (
        "import time, dff.data.video.file as module\n"
        "def wait(*a, **k):\n    print('waiting', flush=True)\n    time.sleep(10**6)\n"
        "module.VideoFile.timed = wait\n"
    )
    return place.predict(place.clip, setup=setup)


AT_RANDOM = [
    Fault(
        f"{name} at a random moment of {what} ({seed})",
        make,
        None,
        code=codes,
        during=at_random(number, seed, 4.0),
    )
    for what, make in {
        "fit": long_fit,
        "evaluate": Place.evaluate,
        "predict": predict_two,
        "reproduce": reproduce,
    }.items()
    for name, number, codes in (
        ("SIGINT", SIGINT, (0, 130, -2)),
        ("SIGTERM", SIGTERM, (0, 143, -15)),
    )
    for seed in (1, 2)
]
"""A command that was faster has ended with 0; before `main` begins, Python's own way is right."""

SIGNALS = [
    *AT_RANDOM,
    Fault(
        "Ctrl-C in a step",
        long_fit,
        "^interrupted$",
        130,
        ("run/*/checkpoints/*.ckpt",),
        when("train/loss", SIGINT, 0.5),
    ),
    Fault(
        "a request to end in a step",
        long_fit,
        "^terminated$",
        143,
        ("run/*/checkpoints/*.ckpt",),
        when("train/loss", SIGTERM, 0.5),
    ),
    Fault(
        "Ctrl-C in a video",
        predict_two,
        "^interrupted$",
        (130, 0),
        ("clip.json",),
        when("other", SIGINT),
    ),
    Fault(
        "a request to end in a video",
        predict_two,
        "^terminated$",
        (143, 0),
        ("clip.json",),
        when("other", SIGTERM),
    ),
    Fault(
        "a killed loader process",
        lambda p: long_fit(p, "--data.num_workers=2"),
        "a loader process",
        1,
        ("run/*/checkpoints/*.ckpt",),
        kill_a_loader,
    ),
    Fault(
        "Ctrl-C while a video blocks",
        pipe_for_a_video,
        "^interrupted$",
        130,
        (),
        when("waiting", SIGINT, 0.3),
        seconds=20,
    ),
    Fault(
        "a request to end while a video blocks",
        pipe_for_a_video,
        "^terminated$",
        143,
        (),
        when("waiting", SIGTERM, 0.3),
        seconds=20,
    ),
    Fault(
        "Ctrl-C while a label blocks",
        pipe_for_a_mask,
        "^interrupted$",
        130,
        (),
        when("labelled frame", SIGINT, 6.0),
        seconds=40,
    ),
    Fault(
        "Ctrl-C in a drawing", draw, "^interrupted$", (130, 0), during=when("drawing", SIGINT, 1.0)
    ),
]
