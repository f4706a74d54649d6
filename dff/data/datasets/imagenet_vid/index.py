"""The index of ImageNet VID and DET: all boxes in a few flat arrays, read once and kept in a cache.

A worker process shares arrays with its parent, where it would copy a million small objects.
"""

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dff.data.datasets.imagenet_vid.annotations import WORDNET_IDS, Annotations, read_annotations
from dff.data.datasets.imagenet_vid.lists import Listed

_CHUNK = 1000  # files for one call of a worker
_WORTH_A_WORKER = 4000  # files; starting a worker takes as long as reading them
_TOLD = 100  # problems whose words are kept


@dataclass(frozen=True, eq=False)
class VidIndex:
    """Snippets, their frames on disk, their labelled frames, and the boxes of these.

    Args:
        names: (S,) str, "VID/train/.../ILSVRC2015_train_00000000"; of a DET image without suffix.
        frame_starts: (S + 1,) int64; snippet s has frames frame_starts[s] to frame_starts[s + 1].
        frames: (F,) int32, numbers of the frames on disk, in order within a snippet.
        suffixes: (F,) S5, of their files.
        label_starts: (S + 1,) int64.
        labelled: (L,) int32, numbers of the labelled frames, in order within a snippet.
        sizes: (L, 2) int32, height and width as annotated.
        box_starts: (L + 1,) int64.
        corners: (N, 4) float32, inclusive.
        classes: (N,) uint8.
        tracks: (N,) int32.
        problem_rows: (P,) int64, labelled frames that cannot be used.
        problems: (up to 100,) str, why, of the first ones.
        clipped: (2,) float64, how many boxes were clipped, and pixels that they reached beyond.
    """

    names: np.ndarray
    frame_starts: np.ndarray
    frames: np.ndarray
    suffixes: np.ndarray
    label_starts: np.ndarray
    labelled: np.ndarray
    sizes: np.ndarray
    box_starts: np.ndarray
    corners: np.ndarray
    classes: np.ndarray
    tracks: np.ndarray
    problem_rows: np.ndarray
    problems: np.ndarray
    clipped: np.ndarray

    def keeping(self, kept: np.ndarray) -> "VidIndex":
        """Returns the index of some of the labelled frames, without snippets that keep none.

        Args:
            kept: (L,) bool.
        """
        counts = np.diff(self.box_starts)
        boxes = np.repeat(kept, counts)
        labels = np.diff(_starts(kept)[self.label_starts])
        frames = np.diff(self.frame_starts)
        return replace(
            self,
            names=self.names[labels > 0],
            frame_starts=_starts(frames[labels > 0]),
            frames=self.frames[np.repeat(labels > 0, frames)],
            suffixes=self.suffixes[np.repeat(labels > 0, frames)],
            label_starts=_starts(labels[labels > 0]),
            labelled=self.labelled[kept],
            sizes=self.sizes[kept],
            box_starts=_starts(counts[kept]),
            corners=self.corners[boxes],
            classes=self.classes[boxes],
            tracks=self.tracks[boxes],
            problem_rows=_starts(kept)[self.problem_rows[kept[self.problem_rows]]],
        )


def build_index(
    root: Path,
    listed: list[Listed],
    workers: int | None = None,
    names: Sequence[str] = WORDNET_IDS,
) -> VidIndex:
    """Reads the annotations of all labelled frames, with a progress bar.

    Args:
        root: Folder with `Data` and `Annotations`.
        listed: The snippets, those of VID before those of DET.
        workers: Processes to read with; as many as there are cores, and as are worth it, if None.
        names: What the annotations call the classes, in their order.
    """
    problems: dict[int, str] = {}
    position = 0
    for one in listed:  # of a frame without image, this is said and not what else is missing
        for number in one.labelled[~np.isin(one.labelled, one.frames)].tolist():
            row = position + int(np.searchsorted(one.labelled, number))
            problems[row] = (
                f"{one.file(root, 'Data', number)} is missing, though a list or an annotation "
                "names it: unpack it again, or train with skip_damaged"
            )
        position += len(one.labelled)
    parts = list(_read_all(root, listed, workers, names))
    starts = _starts([len(part.counts) for part in parts])
    for part, start in zip(parts, starts.tolist(), strict=False):
        problems = {start + row: text for row, text in part.problems.items()} | problems
    rows = sorted(problems)
    joined = (
        np.concatenate(arrays) if arrays else None
        for arrays in zip(*(part[:5] for part in parts), strict=True)
    )
    sizes, counts, corners, classes, tracks = joined
    return VidIndex(
        np.array([one.name for one in listed]),
        _starts([len(one.frames) for one in listed]),
        np.concatenate([one.frames for one in listed]).astype(np.int32),
        np.concatenate([one.suffixes for one in listed]),
        _starts([len(one.labelled) for one in listed]),
        np.concatenate([one.labelled for one in listed]).astype(np.int32),
        sizes,
        _starts(counts),
        corners,
        classes,
        tracks,
        np.array(rows, np.int64),
        np.array([problems[row] for row in rows[:_TOLD]], np.str_),
        np.array([sum(p.clipped for p in parts), max(p.beyond for p in parts)], np.float64),
    )


def save_index(index: VidIndex, path: Path) -> None:
    """Writes an index whole or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez(part, **{name: getattr(index, name) for name in index.__dataclass_fields__})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_index(path: Path) -> VidIndex | None:
    """Returns the index of a file; None where there is none, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return VidIndex(**{name: file[name] for name in VidIndex.__dataclass_fields__})
    except (OSError, ValueError, EOFError, KeyError, zlib.error):
        return None
    except (zipfile.BadZipFile, NotImplementedError):  # the latter where its version is damaged
        return None


def _read_all(
    root: Path, listed: list[Listed], workers: int | None, names: Sequence[str]
) -> Iterator[Annotations]:
    total = sum(len(one.labelled) for one in listed)
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        workers = min(cores or 1, total // _WORTH_A_WORKER + 1)
    chunks = [(*chunk, names) for chunk in _chunks(root, listed)]
    read = 0
    with tqdm(total=total, desc="reading annotations", unit="file") as progress:
        for part in _in_workers(chunks, workers) if workers > 1 else ():
            read += 1
            progress.update(len(part.counts))
            yield part
        for chunk in chunks[read:]:
            part = read_annotations(*chunk)
            progress.update(len(part.counts))
            yield part


def _in_workers(
    chunks: list[tuple[list[str], bool, Sequence[str]]], workers: int
) -> Iterator[Annotations]:
    """Reads chunks in their order, whatever the number of workers; all, or none that remains."""
    # not by fork: the caller may hold threads, of torch or of a progress bar
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            for job in [pool.submit(read_annotations, *chunk) for chunk in chunks]:
                yield job.result()
        except BrokenProcessPool:
            return  # a notebook, or a script without __main__: workers cannot start, we read alone
        finally:
            pool.shutdown(cancel_futures=True)


def _chunks(root: Path, listed: list[Listed]) -> Iterator[tuple[list[str], bool]]:
    """Yields files to read, and whether they are of DET, never both kinds in one."""
    files: list[str] = []
    image = False
    for one in listed:
        if files and (one.is_image != image or len(files) >= _CHUNK):
            yield files, image
            files = []
        image = one.is_image
        files += [one.file(root, "Annotations", number) for number in one.labelled.tolist()]
    yield files, image


def _starts(counts: np.ndarray | list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
