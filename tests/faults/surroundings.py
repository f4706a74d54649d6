"""Machines that lack something: a home folder, a locale, the right time, someone who listens."""

import os
import stat
from collections.abc import Callable

from place import Fault, Place, write_clip, write_folder_data
from warm import Command

NO_LOCALE = {
    **{"LC_ALL": "C", "LANG": None, "LC_CTYPE": None},
    **{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None},
}
NO_HOME = {"HOME": "/proc/no-home", "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}
UNSET_HOME = {"HOME": None, "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}

CLOCK_SET_BACK = """
import time
now, calls = time.time, []
def back():
    calls.append(1)
    return now() - 3600 * (len(calls) > 20)
time.time = back
"""


def foreign_names(place: Place) -> Command:
    write_clip(place.folder / "straße 日本.mp4")
    return place.predict("straße 日本.mp4", env=NO_LOCALE, cold=True)


def foreign_classes(place: Place) -> Command:
    data = write_folder_data(place.folder / "mine")
    (place.folder / "mine" / "classes.txt").write_text("straße\n車\n", encoding="utf-8")
    return place.fit(data=data, env=NO_LOCALE, cold=True)


def no_utf_8_name(place: Place) -> Command:
    os.rename(write_clip(place.folder / "a.mp4"), os.fsencode(place.folder) + b"/\xff\xfe.mp4")
    return place.predict(".")


def default_cache(place: Place) -> Command:
    """A training whose streets go to the cache."""
    kept = [word for word in place.fit().words if not word.startswith("--data.root")]
    return place.command(*kept, env={**NO_HOME, "DFF_CACHE": None}, cold=True)


def from_the_future(place: Place) -> Command:
    clip, model = write_clip(place.folder / "a.mp4"), place.copy("model.ckpt")
    for file in (clip, model):
        os.utime(file, (4e9, 4e9))
    return place.predict("a.mp4", model=model)


def last_from_the_future(place: Place) -> Command:
    """The newest checkpoint is that of another century."""
    target = place.copy("last.ckpt", "out/run/version_0/checkpoints/last.ckpt")
    os.utime(target, (4e9, 4e9))
    return place.fit("--ckpt_path=last", "--trainer.max_steps=4", setup=CLOCK_SET_BACK)


def no_current_folder(place: Place) -> Command:
    (place.folder / "gone").mkdir()
    setup = f"import os; os.chdir('gone'); os.rmdir({str(place.folder / 'gone')!r})"
    words = place.predict(place.clip).words
    words[words.index("--output=out")] = f"--output={place.out}"
    return place.command(*words, setup=setup)


def private(place: Place) -> None:
    """What is written under a umask of 077 is for nobody else, and whole."""
    for path in place.out.rglob("*"):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def nobody_reads(setup: str) -> Callable[[Place], Command]:
    return lambda place: place.predict(place.clip, setup=setup)


UMASK = "import os; os.umask(0o077)"
CLOSED = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, {}); os.close(w)"
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))"
CHECKPOINT = ("run/*/checkpoints/last.ckpt",)

SURROUNDINGS = [
    Fault(
        "no home folder, predicting",
        lambda p: p.predict(p.clip, env=UNSET_HOME, cold=True),
        code=0,
        kept=("clip.json",),
    ),
    Fault(
        "a home folder that is none, predicting",
        lambda p: p.predict(p.clip, env=NO_HOME, cold=True),
        code=0,
        kept=("clip.json",),
    ),
    Fault(
        "a home folder that is none, training",
        lambda p: p.fit(env=NO_HOME, cold=True),
        code=0,
        kept=CHECKPOINT,
    ),
    Fault(
        "a home folder that is none, for the cache",
        default_cache,
        "cannot write the drawn streets to .*DFF_CACHE",
    ),
    Fault("no locale and foreign names", foreign_names, code=0, kept=("*.json", "*.mp4")),
    Fault("no locale and foreign classes", foreign_classes, code=0, kept=CHECKPOINT),
    Fault("a name that is no UTF-8", no_utf_8_name, code=0, kept=("*.json",)),
    Fault(
        "a clock that is set back, predicting",
        lambda p: p.predict(p.clip, setup=CLOCK_SET_BACK),
        code=0,
        kept=("clip.json",),
    ),
    Fault(
        "a clock that is set back, training",
        lambda p: p.fit(setup=CLOCK_SET_BACK),
        code=0,
        kept=CHECKPOINT,
    ),
    Fault("files from the future", from_the_future, code=0, kept=("a.json",)),
    Fault(
        "a checkpoint from the future",
        last_from_the_future,
        code=0,
        kept=("run/version_1/checkpoints/last.ckpt",),
    ),
    Fault(
        "a umask of 077, predicting",
        nobody_reads(UMASK),
        code=0,
        kept=("clip.json", "clip/*.png"),
        after=private,
    ),
    Fault(
        "a umask of 077, training",
        lambda p: p.fit(setup=UMASK),
        code=0,
        kept=CHECKPOINT,
        after=private,
    ),
    Fault("no current folder", no_current_folder, code=(0, 1), said="folder|directory"),
    Fault("nobody who reads the output", nobody_reads(CLOSED.format(1)), code=(0, 1)),
    Fault("nobody who reads the errors", nobody_reads(CLOSED.format(2)), code=(0, 1, 120)),
    Fault(
        "few open files, predicting",
        nobody_reads(FEW_FILES.format(40)),
        code=0,
        kept=("clip.json",),
    ),
    Fault(
        "no network for W&B",
        lambda p: p.fit(
            env={
                "WANDB_MODE": None,
                "WANDB_API_KEY": "0" * 40,
                "WANDB_BASE_URL": "http://127.0.0.1:9",
            }
        ),
        code=0,
        kept=CHECKPOINT,
        seconds=60,
    ),
]
