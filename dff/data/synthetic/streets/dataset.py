"""Streets: drawn street videos with exact labels, boxes, tracks and flow; the default data.

Drawn once to a folder in the layout of Cityscapes, and read from there by the same reader:

    leftImg8bit_sequence/{train,val}/streets/streets_000000_000000_leftImg8bit.jpg
    gtFine/{train,val}/streets/streets_000000_000000_gtFine_{labelIds,instanceIds}.png
    truth/{train,val}/streets_000000.npz

Every frame is labelled, in ten of the classes of Cityscapes. A rider counts as part of the bicycle,
a sign's post as part of the sign: no class is thinner than what a stride of 16 can learn.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dff.data.processes import call_in_processes
from dff.data.samples import SampleError
from dff.data.synthetic.streets.drawing import draw_video, instance_ids
from dff.data.synthetic.streets.mixed import draw_mixed
from dff.data.synthetic.streets.settings import Split, StreetSettings
from dff.data.synthetic.streets.truth import Boxes, StreetTruth, truth_for, write_truth

try:
    import fcntl
except ImportError:  # Windows: two processes may draw the same video, to the same result
    fcntl = None

__all__ = ["Boxes", "StreetSettings", "StreetTruth", "draw_streets", "streets_folder", "truth_for"]

DRAWING = 5
"""Version of the drawing: raise it when the pictures change, so that caches are drawn again."""

# Frames as JPEG: decoded four times as fast as PNG, which is what training waits for.
_QUALITY = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
}


def streets_folder(
    settings: StreetSettings | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
) -> Path:
    """Returns the folder of the streets of these settings; draws them if they are not there.

    Args:
        settings: What to draw; the defaults if None.
        cache: Folder of such folders; $DFF_CACHE or ~/.cache/dff if None.
        workers: Processes to draw with, as many as there are processor cores if None.
    """
    settings = settings or StreetSettings()
    cache = cache or os.environ.get("DFF_CACHE") or Path.home() / ".cache" / "dff"
    code = hashlib.sha256(json.dumps(_described(settings), sort_keys=True).encode()).hexdigest()
    return draw_streets(Path(cache).expanduser() / f"streets-{code[:12]}", settings, workers)


def draw_streets(
    root: str | Path, settings: StreetSettings | None = None, workers: int | None = None
) -> Path:
    """Draws the videos that are missing in a folder, and returns it.

    May be interrupted, and called by several processes at once.

    Args:
        root: Folder for the data set.
        settings: What to draw; the defaults if None.
        workers: Processes to draw with, as many as there are processor cores if None.
    """
    root, settings = Path(root), settings or StreetSettings()
    _check(settings)
    if _finished(root, settings):
        return root
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root) as locked:
            # another process may have drawn everything while this one waited
            if not _finished(root, settings):
                if locked:  # then what lies aside belongs to nobody: a drawing was killed
                    for folder in root.glob(".drawing-*"):
                        shutil.rmtree(folder, ignore_errors=True)
                _draw_missing(root, settings, workers)
    except OSError as error:
        raise SampleError(
            f"cannot write the drawn streets to {root} ({error}): "
            "free or permit that folder, or name another one, in DFF_CACHE for the cache"
        ) from error
    return root


def _described(settings: StreetSettings) -> dict[str, float]:
    described = {"drawing": DRAWING, **asdict(settings)}
    # folders of streets that are even know nothing of these, and stay what they are
    for name in ("stops", "turns", "cuts", "static_share"):
        if not described[name]:
            del described[name]
    return described


def _check(settings: StreetSettings) -> None:
    least = {"train_videos": 0, "val_videos": 0, "frames": 1, "val_frames": 1}
    least |= {"height": 32, "width": 32, "stops": 0, "turns": 0, "cuts": 0}
    for name, smallest in least.items():
        if getattr(settings, name) < smallest:
            raise SampleError(
                f"streets with {name}={getattr(settings, name)}: it must be {smallest} or more"
            )
    if not settings.speed >= 0:
        raise SampleError(f"streets with speed={settings.speed}: it must be 0 or more")
    if not 0 <= settings.static_share <= 1:
        raise SampleError(
            f"streets with static_share={settings.static_share}: it must lie between 0 and 1"
        )


def _finished(root: Path, settings: StreetSettings) -> bool:
    """Returns whether all is drawn; refuses a folder that holds something else."""
    try:
        found = json.loads((root / "settings.json").read_text())
    except FileNotFoundError:
        if others := [path.name for path in root.glob("[!.]*")]:
            raise SampleError(
                f"{root} holds {others[0]}, which is not drawn: choose another folder for the "
                "streets, or name the data set that it is, such as --data Folder or Cityscapes"
            ) from None
        return False
    except (NotADirectoryError, PermissionError):
        return False  # the attempt to write says what is wrong
    except ValueError as error:
        raise SampleError(f"{root / 'settings.json'} is damaged: delete {root}") from error
    wanted = _described(settings)
    if found != wanted:
        names = sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))
        differences = ", ".join(f"{n} {found.get(n)} (wanted {wanted.get(n)})" for n in names)
        raise SampleError(
            f"{root} holds streets of other settings: {differences}; "
            "choose another folder or delete this one"
        )
    return (root / "finished").exists()


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[bool]:
    """Lets one process after the other in, so that the ranks of a training do not draw the same."""
    with (root / ".lock").open("w") as file:
        locked = False
        if fcntl is not None:
            # some network drives have no locks; whole files in one move keep the data right anyway
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
                locked = True
        yield locked


def _draw_missing(root: Path, settings: StreetSettings, workers: int | None) -> None:
    _write(root / "settings.json", json.dumps(_described(settings), indent=1).encode())
    missing = [
        (split, video)
        for split, video in settings.videos()
        if not (root / "truth" / split / f"streets_{video:06d}.npz").exists()
    ]
    workers = min(workers or _cores(), max(1, len(missing)))
    calls = [(root, settings, *which) for which in missing]
    if workers == 1:
        drawn = (_draw_one(*arguments) for arguments in calls)
    else:
        drawn = call_in_processes(_draw_in_one_thread, calls, workers)
    for _ in tqdm(drawn, total=len(missing), desc=f"drawing streets to {root}", unit="video"):
        pass
    _write(root / "finished", b"")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _draw_in_one_thread(root: Path, settings: StreetSettings, split: Split, video: int) -> None:
    cv2.setNumThreads(1)  # as many processes as cores draw
    _draw_one(root, settings, split, video)


def _draw_one(root: Path, settings: StreetSettings, split: Split, video: int) -> None:
    """Draws one video aside, then moves its files in, the truth last: it marks a finished video."""
    seeds = [settings.seed, ["train", "val"].index(split), video]
    count = settings.frames if split == "train" else settings.val_frames
    if settings.mixed:
        drawn = draw_mixed(seeds, count, settings)
    else:
        time = settings.speed * (np.arange(count) - (count - 1) / 2)
        drawn = draw_video(np.random.default_rng(seeds), time, settings.height, settings.width)
    name = f"streets_{video:06d}"
    images, masks = (Path(kind) / split / "streets" for kind in ("leftImg8bit_sequence", "gtFine"))
    aside = root / f".drawing-{split}-{name}-{os.getpid()}"
    try:
        for folder in (images, masks, Path("truth") / split):
            (aside / folder).mkdir(parents=True, exist_ok=True)
            (root / folder).mkdir(parents=True, exist_ok=True)
        ids = instance_ids(drawn.labels)
        files: dict[Path, np.ndarray] = {}
        for frame, (image, shown) in enumerate(zip(drawn.frames, drawn.surfaces, strict=True)):
            stem = f"{name}_{frame:06d}"
            files[images / f"{stem}_leftImg8bit.jpg"] = image[..., ::-1]
            files[masks / f"{stem}_gtFine_labelIds.png"] = drawn.labels[shown]
            files[masks / f"{stem}_gtFine_instanceIds.png"] = ids[shown]
        for path, content in files.items():
            if not cv2.imwrite(str(aside / path), content, _QUALITY[path.suffix]):
                raise OSError(f"writing {path} failed: is the disk full?")
        truth = Path("truth") / split / f"{name}.npz"
        write_truth(aside / truth, drawn)
        for path in (*files, truth):
            os.replace(aside / path, root / path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
