"""ImageNet VID and DET as they are on disk, as snippets with boxes of the 30 classes of VID.

    ROOT/Data/VID/{train/PACKAGE,val}/VIDEO/000000.JPEG
    ROOT/Data/DET/{train/PACKAGE,val}/[SYNSET/]IMAGE.JPEG
    ROOT/Annotations/                                       the same, as .xml
    ROOT/ImageSets/{SET}.txt                                which of them; those of the authors
    ROOT/classes.txt                                        of videos of your own: one class a line,
                                                            as the annotations name it

Frames may be .jpg, .jpeg or .png too, of any case.

A set is a list of ImageSets, or VID_train, VID_val, DET_train, DET_val: all that is annotated.
Where one of the authors' lists is not there, all that is annotated stands in for it. An image of
DET is a snippet of one frame.
"""

import hashlib
import os
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from dff.data.datasets.folder import read_classes
from dff.data.datasets.imagenet_vid.annotations import CLASSES, WORDNET_IDS
from dff.data.datasets.imagenet_vid.ground_truth import motion_iou
from dff.data.datasets.imagenet_vid.index import VidIndex, build_index, load_index, save_index
from dff.data.datasets.imagenet_vid.lists import (
    SETS,
    Wanted,
    frame_file,
    frames_on_disk,
    how_to_find_frames,
    how_to_unpack,
    wanted_frames,
)
from dff.data.samples import Boxes, SampleError, Snippet

__all__ = ["CLASSES", "SETS", "WORDNET_IDS", "VidSnippets", "class_names", "find_snippets"]

_VERSION = 3
"""Of the cache: raise it when the index of the same files changes."""


@dataclass(frozen=True)
class _Frames(Mapping[int, str]):
    """Frame number -> file of one snippet, made when it is asked for."""

    root: str
    kind: str
    name: str
    numbers: np.ndarray
    suffixes: np.ndarray | None = None

    def __getitem__(self, number: int) -> str:
        at = bisect_left(self.numbers, number)
        if at == len(self.numbers) or self.numbers[at] != number:
            raise KeyError(number)
        known = () if self.suffixes is None else (self.suffixes[at].decode(),)
        return frame_file(self.root, self.kind, self.name, number, *known)

    def __contains__(self, number: object) -> bool:
        at = bisect_left(self.numbers, number)
        return at < len(self.numbers) and self.numbers[at] == number

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers.tolist())

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class _IndexBoxes:
    """Boxes of one snippet, looked up in the index."""

    index: VidIndex
    position: int

    def boxes(self, frame: int) -> Boxes:
        index = self.index
        first, last = index.label_starts[self.position : self.position + 2].tolist()
        row = first + bisect_left(index.labelled[first:last], frame)
        if row == last or index.labelled[row] != frame:
            raise SampleError(f"frame {frame} of {index.names[self.position]} has no annotation")
        here = slice(*index.box_starts[row : row + 2].tolist())
        return Boxes(
            index.corners[here].copy(),
            index.classes[here].astype(np.int64),
            index.tracks[here].astype(np.int64),
            tuple(index.sizes[row].tolist()),
        )

    def motion(self, frame: int) -> np.ndarray | None:
        """Motion IoU of the frame's boxes."""
        index = self.index
        first, last = index.label_starts[self.position : self.position + 2].tolist()
        row = first + bisect_left(index.labelled[first:last], frame)
        start, end = (index.box_starts[r] - index.box_starts[first] for r in (row, row + 1))
        return _motion_of(index, self.position)[start:end]


@lru_cache(maxsize=1)  # evaluation goes through a snippet frame by frame
def _motion_of(index: VidIndex, position: int) -> np.ndarray:
    first, last = index.label_starts[position : position + 2].tolist()
    counts = np.diff(index.box_starts[first : last + 1])
    here = slice(*index.box_starts[[first, last]].tolist())
    frame = np.repeat(index.labelled[first:last], counts)
    return motion_iou(frame, index.tracks[here], index.corners[here])


class VidSnippets(Sequence[Snippet]):
    """The snippets of an index, each made when it is asked for; those of VID before those of DET.

    Args:
        root: Folder with `Data` and `Annotations`.
        index: Their index.
        labels_left_out: How many labelled frames could not be used.
    """

    def __init__(self, root: str, index: VidIndex, labels_left_out: int = 0) -> None:
        self.root, self.index, self.labels_left_out = root, index, labels_left_out
        self.videos = sum(not str(name).startswith("DET/") for name in index.names)

    def __len__(self) -> int:
        return len(self.index.names)

    def __getitem__(self, position: int) -> Snippet:
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        index, position = self.index, position % len(self)
        name = str(index.names[position])
        frames, labels = (
            slice(*starts[position : position + 2].tolist())
            for starts in (index.frame_starts, index.label_starts)
        )
        return Snippet(
            name,
            _Frames(self.root, "Data", name, index.frames[frames], index.suffixes[frames]),
            index.labelled[labels].tolist(),
            boxes=_IndexBoxes(index, position),
            box_files=_Frames(self.root, "Annotations", name, index.labelled[labels]),
        )

    @property
    def labelled_counts(self) -> tuple[int, int]:
        """Labelled frames of VID, and of DET."""
        videos = int(self.index.label_starts[self.videos])
        return videos, len(self.index.labelled) - videos


def class_names(root: str | os.PathLike) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the classes to show, and what the annotations call them: those of VID, or of a user.

    Args:
        root: As in `find_snippets`.

    Raises:
        SampleError: There is a classes.txt that names none, or one twice.
    """
    root = _inner(root)
    if not (root / "classes.txt").is_file():
        return CLASSES, WORDNET_IDS
    names, _ = read_classes(root)
    return names, names


def _inner(root: str | os.PathLike) -> Path:
    root = Path(root)
    inner = root / "ILSVRC2015"
    return inner if not (root / "Data").is_dir() and (inner / "Data").is_dir() else root


def find_snippets(
    root: str | os.PathLike,
    split: str,
    sets: Sequence[str] | None = None,
    skip_damaged: bool = False,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
) -> VidSnippets:
    """Finds snippets and reads their boxes, once: then they come from a cache.

    The cache is for the same lists, and folders to which nothing was added and from which nothing
    was taken. Who corrects an annotation in its place deletes the cache.

    Args:
        root: Folder with `Data`, `Annotations` and `ImageSets`, or one with ILSVRC2015 in it.
        split: "train" or "val"; chooses the sets where they are not given.
        sets: Names of sets, see above. In val, none but VID is there to be tracked and evaluated.
        skip_damaged: Whether frames whose file or annotation cannot be used are left unlabelled,
            with a warning, instead of an error.
        cache: Folder for the index; $DFF_CACHE or ~/.cache/dff if None.
        workers: Processes to read with; as many as are worth it if None.

    Raises:
        FileNotFoundError: The root, or all that a set names, is missing.
        SampleError: A list or an annotation cannot be used, or a listed frame is missing.
    """
    root = _inner(root)
    for folder in ("Data", "Annotations"):
        if not (root / folder).is_dir():
            raise FileNotFoundError(f"no folder {root / folder}: {how_to_unpack(root)}")
    if sets is None and split not in SETS:
        raise SampleError(f"no sets of split {split!r}: want one of {', '.join(SETS)}, or set sets")
    names = list(dict.fromkeys(SETS[split] if sets is None else sets))
    wanted, made = wanted_frames(root, names)
    classes = class_names(root)[1]
    key = _key(root, wanted, sorted(made), classes)
    cache = cache or os.environ.get("DFF_CACHE") or Path.home() / ".cache" / "dff"
    path = Path(cache).expanduser() / f"imagenet-vid-{key}.npz"
    index = load_index(path)
    # what was damaged is looked at again: an annotation that was corrected is not a new file
    if index is None or (len(index.problem_rows) and not skip_damaged):
        index = _build(root, wanted, made, workers, classes)
        try:
            if skip_damaged or not len(index.problem_rows):
                save_index(index, path)
        except OSError as error:
            warnings.warn(
                f"the index of {root} cannot be kept at {path} ({error}) and will be made again: "
                "name a folder that can be written in DFF_CACHE",
                stacklevel=2,
            )
    return _checked(str(root), index, names, skip_damaged)


def _build(
    root: Path, wanted: Wanted, made: set[str], workers: int | None, classes: tuple[str, ...]
) -> VidIndex:
    listed = frames_on_disk(root, wanted)
    if not any(len(one.frames) for one in listed):
        raise FileNotFoundError(
            f"none of the {len(listed)} videos and images that are listed is in {root / 'Data'}; "
            f"{how_to_find_frames(root, listed[0].name)}"
        )
    index = build_index(root, listed, workers, classes)
    if "DET" in made:
        # most of DET shows none of the 30 classes; the authors' list has none of those either
        det = np.array([name.startswith("DET/") for name in index.names.tolist()])
        kept = ~np.repeat(det, np.diff(index.label_starts)) | (np.diff(index.box_starts) > 0)
        kept[index.problem_rows] = True
        index = index.keeping(kept)
    return index


def _checked(root: str, index: VidIndex, names: list[str], skip_damaged: bool) -> VidSnippets:
    clipped, beyond = index.clipped.tolist()
    if clipped:
        warnings.warn(
            f"{clipped:.0f} of {len(index.corners)} boxes of {', '.join(names)} reached beyond "
            f"their image, by up to {beyond:g} pixels, and are clipped to it",
            stacklevel=3,
        )
    bad = len(index.problem_rows)
    if not bad:
        return VidSnippets(root, index)
    told = (
        f"{bad} of {len(index.labelled)} labelled frames of {', '.join(names)} cannot be used; the "
        f"first: {index.problems[0]}"
    )
    if not skip_damaged or bad == len(index.labelled):
        raise SampleError(told)
    warnings.warn(f"left unlabelled: {told}", stacklevel=3)
    kept = np.ones(len(index.labelled), bool)
    kept[index.problem_rows] = False
    return VidSnippets(root, index.keeping(kept), labels_left_out=bad)


def _key(root: Path, wanted: Wanted, made: list[str], classes: tuple[str, ...]) -> str:
    """Names what the index depends on: what is wanted, and the folders as they are now."""
    code = hashlib.sha256(repr((_VERSION, str(root.resolve()), made, classes)).encode())
    folders = set()
    for name, numbers in wanted.items():
        code.update(f"{name} {numbers}\n".encode())
        folders.add(name.rpartition("/")[0] if name.startswith("DET/") else name)
    for folder in sorted(folders):
        for kind in ("Data", "Annotations"):
            try:
                changed = os.stat(root / kind / folder).st_mtime_ns
            except FileNotFoundError:
                changed = None
            code.update(f"{kind} {folder} {changed}\n".encode())
    return code.hexdigest()[:12]
