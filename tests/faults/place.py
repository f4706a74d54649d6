"""What a fault is made of: a place to work in, good inputs to spoil, and what must come out."""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from warm import Command, Running

from dff.data.video.writer import same_scheduling

HEIGHT, WIDTH, FRAMES = 64, 96, 12
STREETS = {
    **{"train_videos": 2, "val_videos": 1, "frames": 12, "val_frames": 12},
    **{"height": 64, "width": 128},
}


@dataclass(frozen=True)
class Place:
    """Where one fault is made.

    Args:
        folder: Its own; commands are called in it, and write to `out` in it.
        shared: What all faults read: checkpoints, `streets`, `clip.mp4`; see `prepare`.
    """

    folder: Path
    shared: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def model(self) -> str:
        return str(self.shared / "model.ckpt")

    @property
    def clip(self) -> str:
        return str(self.shared / "clip.mp4")

    def copy(self, name: str, to: str | None = None) -> Path:
        """Copies a shared file or folder here, to be spoilt."""
        source, target = self.shared / name, self.folder / (to or name)
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return target

    def predict(self, *words: object, model: object = None, **kwargs: object) -> Command:
        """A prediction of videos to `out`."""
        options = ("--output=out", "--accelerator=cpu", "--key_duration=3")
        return self.command("predict.py", *options, model or self.model, *words, **kwargs)

    def fit(self, *words: object, data: Sequence[object] | None = None, **kwargs) -> Command:
        """A small training; of the drawn streets, unless `data` names other flags."""
        return self.command(
            *("fit.py", *(self.streets() if data is None else data), *SMALL_FIT),
            *("--data.num_workers=0", *words, "--output", "out", "--name", "run"),
            **kwargs,
        )

    def evaluate(self, *words: object, model: object = None, **kwargs: object) -> Command:
        """A small evaluation."""
        return self.command(
            *("evaluate.py", model or self.shared / "street_model.ckpt"),
            *("--data=Streets", *self.streets()),
            *("--data.num_workers=0", "--data.val_every=6", "--key_durations=[1,2]"),
            *("--accelerator=cpu", "--output", "out", *words),
            **kwargs,
        )

    def streets(self, root: Path | None = None) -> list[str]:
        """Flags of the drawn streets, at `root` or where all have them."""
        flags = [f"--data.{name}={value}" for name, value in STREETS.items()]
        return [*flags, f"--data.root={root or self.shared / 'streets'}"]

    def command(self, *words: object, **kwargs: object) -> Command:
        """Any command, called here."""
        return Command([str(word) for word in words], self.folder, **kwargs)


SMALL_FIT = (
    *("--model.feature_channels=16", "--model.optimizer=sgd", "--model.momentum=0"),
    *("--data.batch_size=2", "--data.val_every=6", "--data.val_batch_size=1"),
    *("--trainer.max_steps=2", "--trainer.limit_val_batches=0", "--trainer.accelerator=cpu"),
    *("--checkpoint.monitor=null", "--video_predictor.on_fit_end=false"),
    *("--trainer.enable_model_summary=false", "--trainer.num_sanity_val_steps=0"),
)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        name: Of the test.
        make: Makes it in a place; gives the command, or several that run at once.
        said: Pattern that the last line of what the (last) command says must hold; None where
            nothing is wrong, so that nothing need be said.
        code: The exit codes that are right.
        kept: Patterns of files in `out` that must be there.
        during: What happens while it runs; waits for its time by itself.
        after: What must hold in the end.
        seconds: Limit of its time on a machine that does nothing else.
        mounts: It needs a mount of its own, which only root may have.
    """

    name: str
    make: Callable[[Place], Command | list[Command]]
    said: str | None = None
    code: int | tuple[int, ...] = 1
    kept: tuple[str, ...] = ()
    during: Callable[[Running, Place], None] | None = None
    after: Callable[[Place], None] | None = None
    seconds: float = 60
    mounts: bool = False

    def __str__(self) -> str:
        return re.sub(r"[^\w.]+", "_", self.name)


def write_clip(
    path: Path,
    codec: str = "libx264",
    count: int = FRAMES,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Writes a video of drifting patches, with a key frame in every fourth frame."""
    rng = np.random.default_rng(0)
    picture = rng.integers(30, 220, (size[0] // 16 + 1, size[1] // 16 + 1, 3), np.uint8)
    picture = picture.repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=10, options={"g": "4", "bf": "0", **(options or {})})
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        with same_scheduling():
            file.start_encoding()
        for number in range(count):
            frame = np.roll(picture, number, 1)[: size[0], : size[1]]
            noise = rng.integers(-8, 8, frame.shape)
            frame = np.ascontiguousarray((frame + noise).clip(0, 255).astype(np.uint8))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """Cuts a file to a share of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes RGB or labels; by OpenCV, as the package's own way imports torch."""
    cv2.imwrite(str(path), pixels if pixels.ndim == 2 else pixels[..., ::-1])


def write_frames(folder: Path, count: int = 6, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """Writes a folder of PNG frames, 000000.png onwards."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for number in range(count):
        patches = rng.integers(0, 255, (size[0] // 16, size[1] // 16, 3), np.uint8)
        write_png(folder / f"{number:06d}.png", patches.repeat(16, 0).repeat(16, 1))
    return folder


def write_folder_data(root: Path, mask: Callable[[int], np.ndarray] | None = None) -> list[str]:
    """Writes a data set of frames and masks of two classes; gives the flags of a fit on it."""
    root.mkdir()
    (root / "classes.txt").write_text("road\ncar\n")
    for split in ("train", "val"):
        write_frames(root / split / "frames" / "a")
        (root / split / "masks" / "a").mkdir(parents=True)
        for number in range(6):
            labels = np.zeros((HEIGHT, WIDTH), np.uint8)
            labels[:, : WIDTH // 2] = 1
            file = root / split / "masks" / "a" / f"{number:06d}.png"
            write_png(file, labels if mask is None else mask(number))
    return ["--data=Folder", f"--data.root={root}", "--model.num_classes=2"]
