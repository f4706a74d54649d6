"""A user's own data: frames and masks in folders, one folder or video file for each video.

    ROOT/classes.txt                       one class a line: name, or name and its colour "r g b"
    ROOT/{split}/frames/{video}/*.png      consecutive frames in natural order; .jpg and .jpeg too
    ROOT/{split}/frames/{video}.mp4        or a video file in the place of such a folder
    ROOT/{split}/masks/{video}/*.png       same stem as the frame, of a video file its number from 0
                                           or its second ("12.4s"): class numbers, 255 ignored

Any frame may lack a mask. A video of one frame is a single image, and is trained at gap 0.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dff.data.annotations.class_lists import class_file, class_lines
from dff.data.annotations.frames import is_video, open_frames
from dff.data.annotations.masks import IGNORED_NAME, BinaryMasks, MaskKind, colour_masks
from dff.data.files.images import natural_order, read_labels, values_in
from dff.data.pair_files import ReadMask
from dff.data.samples import IGNORED, SampleError, Snippet, Snippets

_FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
_SECOND = re.compile(r"(\d+(?:\.\d+)?)s")
_CLASS_LINE = re.compile(r"(?P<name>.+?)(?:\s+(?P<r>\d+)\s+(?P<g>\d+)\s+(?P<b>\d+))?")


@dataclass(frozen=True)
class MaskReader:
    """Reads masks of numbers: path -> (H, W) uint8, 255 ignored.

    Args:
        classes: How many numbers there are, from 0.
        ignored: The one that means that a pixel does not count, beside 255; those above it are one
            smaller in what is read. None where there is none.
    """

    classes: int
    ignored: int | None = None

    def __call__(self, path: str | os.PathLike) -> np.ndarray:
        """Reads one mask.

        Raises:
            FileNotFoundError: There is no such file.
            SampleError: The file is damaged, or holds numbers of no class.
        """
        mask = read_labels(path)
        present = values_in(mask)
        wrong = present[(present >= self.classes) & (present != IGNORED)]
        if len(wrong):
            raise SampleError(
                f"{path} holds the numbers {', '.join(map(str, wrong[:10]))}, but classes.txt has "
                f"{self.classes} classes, 0..{self.classes - 1} (and {IGNORED} for ignored): "
                "correct the mask, or add the classes to classes.txt"
            )
        if self.ignored is None:
            return mask.astype(np.uint8, copy=False)
        table = np.arange(256) - (np.arange(256) > self.ignored)
        table[[self.ignored, IGNORED]] = IGNORED
        return table.astype(np.uint8)[mask]


def read_classes(root: str | os.PathLike) -> tuple[tuple[str, ...], np.ndarray]:
    """Reads the list of classes in a folder: the K names, and their colours as (K, 3) uint8 RGB.

    That is classes.txt, or one of the others that `class_lists` knows. Classes without a colour get
    one that no other class has. Empty lines are passed over.

    Raises:
        FileNotFoundError: There is no list.
        SampleError: It names no class, too many, one twice, or a colour outside 0..255.
    """
    path = class_file(Path(root))
    if path is None:
        raise FileNotFoundError(
            f"no {Path(root) / 'classes.txt'}: write one class a line, in the order of the numbers "
            "in the masks (the first line is class 0), or set --data.root"
        )
    names: list[str] = []
    colours: list[tuple[int, ...] | None] = []
    for line in class_lines(path):
        if match := _CLASS_LINE.fullmatch(line.strip()):
            rgb = match.group("r", "g", "b")
            names.append(match["name"])
            colours.append(None if rgb[0] is None else tuple(int(value) for value in rgb))
    if not 1 <= len(names) <= IGNORED:
        raise SampleError(
            f"{path} names {len(names)} classes: want 1 to {IGNORED}, one a line, "
            f"because {IGNORED} marks ignored pixels"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SampleError(f"{path} names a class twice: {', '.join(twice)}; rename one of them")
    if outside := [name for name, c in zip(names, colours, strict=True) if c and max(c) > 255]:
        raise SampleError(f"{path}: a colour is r g b, each 0..255; see {', '.join(outside)}")
    spare = (c for c in map(_default_colour, range(1, 1024)) if c not in colours)
    return tuple(names), np.array([c or next(spare) for c in colours], np.uint8)


def mask_reader(
    kind: MaskKind, names: Sequence[str], palette: Sequence[Sequence[int]]
) -> tuple[tuple[str, ...], ReadMask, list[list[int]]]:
    """The classes of masks, what reads them, and the colours of the classes.

    Args:
        kind: What the values of masks mean.
        names: Of `classes.txt`.
        palette: Their colours.

    Raises:
        SampleError: The names do not go with the kind.
    """
    colours = [list(colour) for colour in palette]
    if kind == "binary":
        if len(names) != 2:
            raise SampleError(
                f"masks of 0 and 255 have two classes, and classes.txt names {len(names)}: name "
                "the class of 0 in its first line and that of 255 in the second"
            )
        return tuple(names), BinaryMasks(), colours
    real = [i for i, name in enumerate(names) if name != IGNORED_NAME]
    reader: ReadMask
    if kind == "colours":
        reader = colour_masks(names, np.array(palette, np.uint8))
    else:
        ignored = names.index(IGNORED_NAME) if IGNORED_NAME in names else None
        reader = MaskReader(len(names), ignored)
    return tuple(names[i] for i in real), reader, [colours[i] for i in real]


def find_snippets(root: str | os.PathLike, split: str, require_labels: bool = True) -> Snippets:
    """Lists the videos of one split; opens no image.

    Args:
        root: Folder that holds the splits.
        split: Name of a folder in it, such as "train"; "" where `frames` is in the root itself.
        require_labels: Whether videos without masks are left out, and none at all is an error.

    Raises:
        FileNotFoundError: The root, the split, its frames or its masks are missing.
        SampleError: Two frames of a video have the same stem, or a mask belongs to none of the
            frames of its video file.
    """
    root = Path(root)
    frame_root, mask_root = root / split / "frames", root / split / "masks"
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: set --data.root to the folder with your data")
    if not frame_root.is_dir():
        raise FileNotFoundError(
            f"no folder {frame_root}: put the frames of each video into "
            f"{frame_root}/VIDEO/, or set --data.root"
        )
    snippets, left_out = Snippets(), 0
    for video in _videos(frame_root):
        files = _files(mask_root / Path(video).stem, (".png",)) or _files(
            mask_root / video, (".png",)
        )
        masks = {Path(file).stem: file for file in files}
        if is_video(video):
            snippet = _of_video_file(frame_root / video, mask_root, masks, require_labels)
        else:
            snippet = _of_folder(frame_root / video, mask_root, masks)
        left_out += len(masks) - len(snippet.masks)
        if snippet.masks or (snippet.frames and not require_labels):
            snippets.append(snippet)
    left_out += sum(
        len(_files(mask_root / video, (".png",)))
        for video in set(_folders(mask_root)) - {Path(v).stem for v in _videos(frame_root)}
        if not (frame_root / video).is_dir()
    )
    snippets.labels_left_out = left_out
    if not snippets and not any(
        is_video(v) or _files(frame_root / v, _FRAME_SUFFIXES) for v in _videos(frame_root)
    ):
        raise FileNotFoundError(
            f"no .png, .jpg or .jpeg frames in the folders of {frame_root}: put the frames of each "
            f"video into {frame_root}/VIDEO/, a single image into a folder of its own"
        )
    if not snippets:
        raise FileNotFoundError(
            f"no mask in {mask_root} belongs to a frame in {frame_root} ({left_out} belong to "
            f"none): put the mask of frames/VIDEO/NAME.jpg at masks/VIDEO/NAME.png"
        )
    return snippets


def _of_folder(folder: Path, mask_root: Path, masks: Mapping[str, str]) -> Snippet:
    files = _files(folder, _FRAME_SUFFIXES)
    stems = [Path(file).stem for file in files]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise SampleError(
            f"two frames in {folder} are called {twice}: "
            "a mask belongs to a frame by its name, so delete or rename one"
        )
    frames = {number: str(folder / file) for number, file in enumerate(files)}
    labels = {
        number: str(mask_root / folder.name / masks[stem])
        for number, stem in enumerate(stems)
        if stem in masks
    }
    return Snippet(folder.name, frames, list(labels), labels)


def _of_video_file(
    path: Path, mask_root: Path, masks: Mapping[str, str], require_labels: bool
) -> Snippet:
    if not masks and require_labels:
        return Snippet(path.stem, {})
    opened = open_frames(path)
    labels = {}
    for stem, file in masks.items():
        second = _SECOND.fullmatch(stem)
        number = opened.number_at(float(second[1])) if second else _number_in(stem)
        if number not in opened.frames:
            raise SampleError(
                f"the mask {file} belongs to no frame of {path}, which has {len(opened.frames)}: "
                'call a mask by the number of its frame, from 0, or by its second, such as "12.4s"'
            )
        labels[number] = str(mask_root / path.stem / file)
    labels = dict(sorted(labels.items()))
    return Snippet(path.stem, opened.frames, list(labels), labels, video=opened.video)


def _number_in(stem: str) -> int:
    """The number at the end of a name; -1 where there is none."""
    number = re.search(r"(\d+)$", stem)
    return int(number[1]) if number else -1


def _videos(parent: Path) -> list[str]:
    """Names of the folders and video files in a folder, in natural order."""
    files = [entry.name for entry in os.scandir(parent) if entry.is_file()]
    videos = [name for name in files if is_video(name) and not name.startswith(".")]
    return sorted([*_folders(parent), *videos], key=natural_order)


def _folders(parent: Path) -> list[str]:
    if not parent.is_dir():
        return []
    return sorted((e.name for e in os.scandir(parent) if e.is_dir()), key=natural_order)


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    if not folder.is_dir():
        return []
    # names with a dot in front are what macOS and stopped copies leave
    names = (e.name for e in os.scandir(folder) if not e.name.startswith("."))
    return sorted((n for n in names if n.lower().endswith(suffixes)), key=natural_order)


def default_colours(count: int) -> list[list[int]]:
    """Colours of as many classes, all different; the first is black, as of a background."""
    return [list(_default_colour(number)) for number in range(count)]


def _default_colour(number: int) -> tuple[int, ...]:
    """Colour of a class by the bits of its number, as PASCAL VOC does: 1..255 all differ."""
    return tuple(
        sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8))
        for channel in range(3)
    )
