"""Every fault of the tables, made for real and met through the command line.

Common to all: it ends, within its time; the exit code is right; no traceback; the last line says
what came, what was wanted and the cure; nothing half-written stays; what was finished stays.
"""

import json
import os
import re
from pathlib import Path

import pytest
from changes import CHANGES
from data_sets import DATA
from mistakes import USER_ERRORS
from place import STREETS, Fault, Place, write_clip
from settings import SETTINGS
from signals import SIGNALS
from surroundings import SURROUNDINGS
from videos import BAD_VIDEOS
from warm import Command, Ended, Scripts

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of Unix"),
    pytest.mark.timeout(1800),  # of the machine; each fault has its own
]

PATIENCE = float(os.environ.get("DFF_PATIENCE", "1"))
"""How many times longer a busy machine may take."""

PREPARE = (
    "import runpy, sys; sys.argv = ['prepare', {folder!r}, {streets!r}]; "
    "runpy.run_path({file!r}, run_name='__main__'); sys.exit(0)"
)


@pytest.fixture(scope="session")
def scripts(tmp_path_factory):
    with Scripts(tmp_path_factory.mktemp("commands")) as running:
        yield running


@pytest.fixture(scope="session")
def shared(scripts, tmp_path_factory):
    """The folder that all faults read."""
    folder = tmp_path_factory.mktemp("shared")
    write_clip(folder / "clip.mp4")
    file = str(Path(__file__).with_name("prepare.py"))
    setup = PREPARE.format(folder=str(folder), streets=repr(STREETS), file=file)
    ended = scripts.start(Command(["fit.py"], folder, setup=setup)).wait(300 * PATIENCE)
    assert ended.code == 0, ended.err
    ended = scripts.start(Place(folder, folder).fit()).wait(120 * PATIENCE)
    assert ended.code == 0, ended.err
    (folder / "out/run/version_0/checkpoints/last.ckpt").rename(folder / "last.ckpt")
    return folder


FAULTS = [*USER_ERRORS, *DATA, *SETTINGS, *SIGNALS, *CHANGES, *SURROUNDINGS]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault(fault: Fault, scripts, shared, tmp_path):
    if fault.mounts and not may_mount():
        pytest.skip("mounting wants the rights of root")
    place = Place(tmp_path, shared)
    made = fault.make(place)
    running = [scripts.start(c) for c in ([made] if isinstance(made, Command) else made)]
    try:
        if fault.during is not None:
            fault.during(running[-1], place)
        ended = [command.wait(fault.seconds * PATIENCE) for command in running]
    finally:
        for command in running:
            command.kill()
    for each in ended:
        check(fault, each, place)
    if fault.after is not None:
        fault.after(place)


def check(fault: Fault, ended: Ended, place: Place) -> None:
    words = ended.out + ended.err
    wanted = fault.code if isinstance(fault.code, tuple) else (fault.code,)
    assert "Traceback" not in words, words
    assert ended.code in wanted, words
    if fault.said is not None and ended.code:
        last = last_line(ended)
        assert re.search(fault.said, last), words
        assert is_sentence(last) or last in ("interrupted", "terminated"), last
    assert not half_written(place.out)
    for pattern in fault.kept:
        assert list(place.out.glob(pattern)), [str(p) for p in place.out.rglob("*")]


def last_line(ended: Ended) -> str:
    lines = [line for line in ended.err.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def is_sentence(line: str) -> bool:
    """Whether a line could tell a person what to do: no name of a type in front, some words."""
    return len(line.split()) > 4 and not re.match(r"[\w.]*(Error|Exception)\b", line)


def half_written(folder: Path) -> list[Path]:
    """What a command that ended by itself must not leave behind."""
    if not folder.is_dir():
        return []
    return [p for p in folder.rglob("*") if re.search(r"\.part\b|\.tmp$|^\.drawing", p.name)]


def may_mount() -> bool:
    return os.system("unshare -m true 2>/dev/null") == 0


@pytest.fixture(scope="session")
def predicted(scripts, shared, tmp_path_factory):
    """How the command ends that is given all bad videos, with a good one before and after them."""
    place = Place(tmp_path_factory.mktemp("bad"), shared)
    for name, (make, _) in BAD_VIDEOS.items():
        make(place.folder / name)
    write_clip(place.folder / "good.mp4")
    running = scripts.start(place.predict(place.clip, *BAD_VIDEOS, "good.mp4"))
    try:
        ended = running.wait(240 * PATIENCE)
    except TimeoutError:
        pytest.fail("the bad videos hold up the good ones")
    return place, ended


@pytest.mark.parametrize("name", BAD_VIDEOS)
def test_a_bad_video_is_told_among_the_others(name, predicted):
    place, ended = predicted
    told = re.findall(r"^(not predicted|predicted in part): (.*)$", ended.err, re.MULTILINE)
    mine = rf"(?<![\w.]){re.escape(name)}(?![\w.])"
    ((outcome, line),) = [row for row in told if re.search(mine, row[1])]
    assert re.search(BAD_VIDEOS[name][1], line) and is_sentence(line)
    reports = [json.loads(file.read_text()) for file in place.out.glob("*.json")]
    kept = [r for r in reports if Path(r["input"]).name == name]
    if outcome == "not predicted":
        assert not kept
    else:  # what came before the damage
        assert kept[0]["frames"] == int(re.search(r"(\d+) frames are kept$", line)[1])
        assert re.search(BAD_VIDEOS[name][1], kept[0]["error"])


def test_the_good_videos_among_bad_ones_are_predicted(predicted):
    place, ended = predicted
    assert ended.code == 1 and "Traceback" not in ended.err
    assert not half_written(place.out)
    for name in ("clip", "good"):
        assert (place.out / f"{name}.json").exists() and (place.out / f"{name}.mp4").exists()
        assert len(list((place.out / name).glob("*.png"))) == 12


def test_a_command_that_hangs_is_told_with_what_it_said(scripts, tmp_path):
    """The harness itself: no hang passes."""
    setup = "import time; print('waiting', flush=True); time.sleep(1000)"
    running = scripts.start(Command(["fit.py"], tmp_path, setup=setup))
    while "waiting" not in running.said():
        assert not running.ended()
    with pytest.raises(TimeoutError, match="it said: waiting"):
        running.wait(0.1)
