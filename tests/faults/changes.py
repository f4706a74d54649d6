"""What changes while work runs: files, disks, memory, and who else works there."""

from collections.abc import Callable
from pathlib import Path

import av
from place import Fault, Place, write_clip, write_frames
from signals import draw, predict_two
from warm import Command

SHM = "/dev/shm"


def then(change: str, call: str) -> str:
    """Python lines that change something once a function of the package has returned."""
    module, _, name = call.rpartition(".")
    return (
        f"import os, {module} as module\nbefore = module.{name}\n"
        f"def after(*a, **k):\n    found = before(*a, **k)\n    {change}\n    return found\n"
        f"module.{name} = after\n"
    )


def mounted(options: str, path: Path | str) -> str:
    """Python lines that mount a small file system for this process alone."""
    return (
        "import ctypes, subprocess\n"
        "assert ctypes.CDLL(None).unshare(0x20000) == 0  # CLONE_NEWNS\n"
        "subprocess.run(['mount', '--make-rprivate', '/'], check=True)\n"
        f"subprocess.run(['mount', '-t', 'tmpfs', '-o', {options!r}, 'tmpfs', {str(path)!r}],"
        " check=True)\n"
    )


SMALL_FILES = (
    "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
)
"""No file may grow beyond this: every write fails where a full disk would let it fail."""


def in_folder(
    change: str, call: str = "dff.data.video.sources.find_videos"
) -> Callable[[Place], Command]:
    """A prediction of a video and of frames, of which something changes once they are listed."""

    def make(place: Place) -> Command:
        write_clip(place.folder / "a.mp4", count=40)
        write_frames(place.folder / "frames")
        return place.predict(place.clip, "a.mp4", "frames", setup=then(change, call))

    return make


def small_files(size: int, what: Callable[[Place], Command]) -> Callable[[Place], Command]:
    def make(place: Place) -> Command:
        command = what(place)
        command.setup = SMALL_FILES.format(size=size)
        return command

    return make


def killed(place: Place) -> Command:
    """A drawing that ends without a word in the midst of a video, and leaves its lock."""
    return draw(
        place, setup=then("os.kill(os.getpid(), 9)", "dff.data.synthetic.streets.dataset._write")
    )


def both_whole(place: Place) -> None:
    """Neither has spoilt what the other has written."""
    for name, count in (("clip", 12), ("other", 40)):
        with av.open(str(place.out / f"{name}.mp4")) as file:
            assert sum(1 for _ in file.decode(video=0)) == count
        assert len(list((place.out / name).glob("*.png"))) == count


def two_trainings(place: Place) -> list[Command]:
    """The second begins when the first has its folder."""
    wait = "import os, time\nwhile not os.path.exists('out/run/version_0'): time.sleep(0.05)"
    return [place.fit(), place.fit(setup=wait)]


def small_shm(place: Place) -> Command:
    """Less shared memory than a batch of frames needs."""
    return place.fit("--data.num_workers=1", setup=mounted("size=40k", SHM))


def full_disk(place: Place) -> Command:
    place.out.mkdir()
    return place.predict(place.clip, setup=mounted("size=40k", place.out))


def cut_once_checked(place: Place) -> Command:
    """A training goes on from a checkpoint that another one cuts after it was looked at."""
    file = place.copy("last.ckpt", "mine.ckpt")
    change = f"os.truncate({str(file)!r}, 100000)"
    setup = then(change, "dff.lit.cli.check_continued")
    return place.fit("--ckpt_path", file, "--trainer.max_steps=4", setup=setup)


def cut_once_loaded(place: Place) -> Command:
    file = place.copy("model.ckpt")
    setup = then(f"os.truncate({str(file)!r}, 100000)", "dff.lit.checkpoints.load_model")
    return place.predict(place.clip, model=file, setup=setup)


def cut_while_read(place: Place) -> Command:
    file = place.copy("model.ckpt")
    setup = (
        f"import os, torch\nload = torch.load\n"
        f"def cut(*a, **k):\n    os.truncate({str(file)!r}, 100000)\n    return load(*a, **k)\n"
        "torch.load = cut\n"
    )
    return place.predict(place.clip, model=file, setup=setup)


READ_ONLY = (
    "import errno, os, builtins\n"
    "def wrapped(call, at):\n"
    "    def refuse(path, *a, **k):\n"
    "        mine = os.path.abspath(path).startswith(OUT) and os.path.exists(OUT + '/clip.json')\n"
    "        writes = at is None or (a and any(c in str(a[0]) for c in 'wax'))\n"
    "        if mine and writes:\n"
    "            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))\n"
    "        return call(path, *a, **k)\n"
    "    return refuse\n"
    "import av, io, pathlib, shutil\n"
    "io.open = builtins.open = wrapped(open, 0)\n"
    "av.open = wrapped(av.open, 0)\n"
    "os.mkdir, os.replace = wrapped(os.mkdir, None), wrapped(os.replace, None)\n"
)


def becomes_read_only(place: Place) -> Command:
    return predict_two(place, setup=f"OUT = {str(place.out)!r}\n" + READ_ONLY)


CHANGES = [
    Fault(
        "little shared memory in training",
        small_shm,
        "--shm-size.*--data.num_workers 0",
        mounts=True,
    ),
    Fault(
        "little shared memory in prediction",
        lambda p: p.predict(p.clip, setup=mounted("size=4k", SHM)),
        code=0,
        kept=("clip.json",),
        mounts=True,
    ),
    Fault(
        "a video that vanishes",
        in_folder("os.remove('a.mp4')"),
        "no video at a.mp4: check",
        1,
        ("clip.json", "frames.json"),
    ),
    Fault(
        "a video that is cut once it is listed",
        in_folder("os.truncate('a.mp4', 700)"),
        r"a\.mp4",
        1,
        ("clip.json", "frames.json"),
    ),
    Fault(
        "a video that becomes another",
        in_folder("os.replace('frames/000000.png', 'a.mp4')"),
        r"a\.mp4|000000",
        1,
        ("clip.json",),
    ),
    Fault(
        "a frame that vanishes",
        in_folder("os.remove('frames/000003.png')"),
        r"frame 3 of frames.*000003\.png is missing",
        1,
        ("clip.json", "a.json"),
    ),
    Fault(
        "a folder that vanishes",
        in_folder("import shutil; shutil.rmtree('frames')"),
        "frame",
        1,
        ("clip.json", "a.json"),
    ),
    Fault(
        "a full disk in prediction",
        full_disk,
        "clip.*(space|room|full)",
        mounts=True,
    ),
    Fault(
        "overlays that cannot grow",
        small_files(4000, predict_two),
        "(clip|other).*(large|room|big)",
    ),
    Fault("checkpoints that cannot grow", small_files(300_000, Place.fit), "large|room|big"),
    Fault(
        "streets that cannot grow",
        small_files(2000, draw),
        "cannot write the drawn streets to out .*DFF_CACHE",
    ),
    Fault("reports that cannot grow", small_files(4000, Place.evaluate), "large|room|big"),
    Fault(
        "an output folder that becomes read-only",
        becomes_read_only,
        "other.*(read-only|Read-only)",
        1,
        ("clip.json",),
    ),
    Fault("a checkpoint cut after it was checked", cut_once_checked, r"mine\.ckpt|checkpoint"),
    Fault("a checkpoint cut after it was loaded", cut_once_loaded, code=0, kept=("clip.json",)),
    Fault("a checkpoint cut while it is read", cut_while_read, r"model\.ckpt .*: (give|copy)"),
    Fault(
        "two predictions into one folder",
        lambda p: [predict_two(p), predict_two(p)],
        code=(0, 1),
        kept=("clip.json", "other.json", "clip.mp4", "clip/*.png"),
        after=both_whole,
    ),
    Fault(
        "two drawings into one folder",
        lambda p: [draw(p), draw(p)],
        code=0,
        kept=("finished", "truth/train/streets_000005.npz"),
    ),
    Fault(
        "two trainings of one name",
        two_trainings,
        code=0,
        kept=("run/version_0/checkpoints/last.ckpt", "run/version_1/checkpoints/last.ckpt"),
    ),
    Fault(
        "a drawing that is killed, and begun again",
        lambda p: [killed(p), draw(p)],
        code=(0, -9),
        kept=("finished",),
    ),
]
