"""Lists of ImageNet VID and DET: which frames are labelled, and which are on disk."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dff.data.samples import SampleError, read_text

SETS: dict[str, tuple[str, ...]] = {
    "train": ("VID_train_15frames", "DET_train_30classes"),
    "val": ("VID_val_videos",),
}
"""The authors' lists of each split."""

_SET = re.compile(r"(VID|DET)_(train|val)\w*")
FRAME_SUFFIX = ".JPEG"
"""Of the frames of the data set; those of other videos may end in .jpg or .png, of any case."""
_FRAME = re.compile(r"(.+)(\.(?:jpe?g|png))", re.IGNORECASE)
_NUMBER = re.compile(r"\d{6}")
_MOST_FRAMES = 10**6

Wanted = dict[str, list[int]]
"""Snippet name -> numbers of its labelled frames, in order."""


@dataclass(frozen=True)
class Listed:
    """A snippet that a list names.

    Args:
        name: As in `VidIndex`.
        labelled: Numbers of its labelled frames, in order.
        frames: Numbers of its frames on disk, in order.
        suffixes: Their suffixes, (F,) S5.
    """

    name: str
    labelled: np.ndarray
    frames: np.ndarray
    suffixes: np.ndarray

    @property
    def is_image(self) -> bool:
        """Whether it is one image of DET."""
        return self.name.startswith("DET/")

    def file(self, root: Path, kind: str, number: int) -> str:
        """Returns the path of a frame's image ("Data") or annotation ("Annotations")."""
        return frame_file(root, kind, self.name, number)


def frame_file(
    root: str | os.PathLike, kind: str, name: str, number: int, suffix: str = FRAME_SUFFIX
) -> str:
    """Returns the path of a frame.

    Args:
        root: Folder with `Data` and `Annotations`.
        kind: "Data" or "Annotations".
        name: Of the snippet.
        number: Of the frame; a DET image has no number on disk.
        suffix: Of its image.
    """
    stem = name if name.startswith("DET/") else f"{name}/{number:06d}"
    return os.path.join(root, kind, f"{stem}{suffix if kind == 'Data' else '.xml'}")


def wanted_frames(root: Path, names: list[str]) -> tuple[Wanted, set[str]]:
    """Returns what sets name, VID first; and the kinds of which all that is annotated is taken.

    Args:
        root: Folder with `Annotations` and `ImageSets`.
        names: Of sets.

    Raises:
        FileNotFoundError: A list is missing, and nothing stands in for it.
        SampleError: A name or a line is none of a list.
    """
    wanted: Wanted = {}
    made: set[str] = set()
    for name in sorted(names, key=lambda name: name.startswith("DET")):
        match = _SET.fullmatch(name)
        if match is None:
            raise SampleError(f"set {name!r}: want a name that begins like VID_train or DET_val")
        path = root / "ImageSets" / f"{name}.txt"
        if path.is_file():
            for snippet, numbers in _read_list(path, match[1]).items():
                wanted[snippet] = sorted({*wanted.get(snippet, ()), *numbers})
        elif name == f"{match[1]}_{match[2]}" or any(name in known for known in SETS.values()):
            found = _annotated(root, f"{match[1]}/{match[2]}")
            if not found:
                folder = root / "Annotations" / match[1] / match[2]
                raise FileNotFoundError(
                    f"no list {path}, and no annotation in {folder} to make it from: "
                    f"{how_to_unpack(root)}"
                )
            wanted |= found
            made.add(match[1])
        else:
            raise FileNotFoundError(
                f"no list {path}: put it there, or take {match[1]}_{match[2]}, which is all that "
                "is annotated"
            )
    return wanted, made


def _read_list(path: Path, kind: str) -> Wanted:
    """Reads one list, in any of the authors' four forms.

    VIDEO first FRAME length; of the whole video where the list is called VID_*_videos.
    VIDEO/FRAME number, of single frames of VID. IMAGE number, of DET.
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    videos = path.stem.endswith("_videos")
    for at, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        try:
            if not words:
                continue
            if kind == "DET" and len(words) <= 2:
                numbers[f"DET/{words[0]}"] = [0]
            elif kind == "VID" and len(words) == 4:
                start, length = int(words[2]), int(words[3])
                if not 0 <= start <= start + length <= _MOST_FRAMES:
                    raise ValueError
                frames = range(start, start + length) if videos else [start]
                numbers[f"VID/{words[0]}"].extend(frames)
            elif kind == "VID" and len(words) <= 2:
                folder, frame = words[0].rsplit("/", 1)
                if not 0 <= int(frame) <= _MOST_FRAMES:
                    raise ValueError
                numbers[f"VID/{folder}"].append(int(frame))
            else:
                raise ValueError
        except ValueError:
            raise SampleError(
                f"{path}, line {at}: {line[:80]!r} is no line of such a list; copy it again from "
                "its source, or delete it to take all that is annotated"
            ) from None
        if ".." in words[0].split("/"):
            raise SampleError(f"{path}, line {at}: {line[:80]!r} leaves the data set; correct it")
    return {name: sorted(set(found)) for name, found in numbers.items()}


def _annotated(root: Path, part: str) -> Wanted:
    """Lists all annotations of "VID/train" and so on: one scandir for each folder."""
    found: Wanted = {}
    for folder, folders, files in os.walk(root / "Annotations" / part, followlinks=True):
        folders.sort()
        name = Path(folder).relative_to(root / "Annotations").as_posix()
        files = sorted(file for file in files if file.endswith(".xml"))
        if part.startswith("DET"):
            found |= {f"{name}/{file.removesuffix('.xml')}": [0] for file in files}
        elif numbers := [int(file[:6]) for file in files if _NUMBER.fullmatch(file[:-4])]:
            found[name] = sorted(numbers)
        elif files:
            raise SampleError(
                f"{folder} holds {files[0]}: frames and annotations of a video are called by six "
                "digits, 000000.xml and 000000.JPEG onwards"
            )
    return found


def frames_on_disk(root: Path, wanted: Wanted) -> list[Listed]:
    """Adds to what is wanted which frames are on disk."""
    inside: dict[str, dict[str, str]] = {}
    listed = []
    for name, numbers in wanted.items():
        folder, _, image = name.rpartition("/") if name.startswith("DET/") else (name, "", "")
        if not image:
            found = _images_in(root / "Data" / folder)
            frames = {int(stem): found[stem] for stem in sorted(found) if _NUMBER.fullmatch(stem)}
        else:
            if folder not in inside:
                inside[folder] = _images_in(root / "Data" / folder)
            frames = {0: inside[folder][image]} if image in inside[folder] else {}
        listed.append(
            Listed(
                name,
                np.array(numbers, np.int32),
                np.array(list(frames), np.int32),
                np.array(list(frames.values()), "S5"),
            )
        )
    return listed


def _images_in(folder: Path) -> dict[str, str]:
    """Name without suffix -> suffix of each image; of one that is there twice, the .JPEG."""
    names = os.listdir(folder) if folder.is_dir() else []
    matches = filter(None, map(_FRAME.fullmatch, sorted(names, reverse=True)))
    return dict(sorted(((match[1], match[2]) for match in matches), key=_is_official))


def _is_official(image: tuple[str, ...]) -> bool:
    return image[1] == FRAME_SUFFIX


def how_to_find_frames(root: Path, name: str) -> str:
    """Says why a snippet has no frame on disk, by what its folder holds, and what to do.

    Args:
        root: Folder with `Data`.
        name: Of the snippet.
    """
    folder = root / "Data" / (name.rpartition("/")[0] if name.startswith("DET/") else name)
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    if not names:
        return f"{folder} {'is empty' if folder.is_dir() else 'is missing'}: {how_to_unpack(root)}"
    if name.startswith("DET/"):
        return f"{folder} holds no image {name.rpartition('/')[2]}: {how_to_unpack(root)}"
    return (
        f"{folder} holds {names[0]}: frames are called by the six digits of their annotations, "
        "000000.JPEG onwards, and are .JPEG, .jpg or .png; rename or convert them"
    )


def how_to_unpack(root: Path) -> str:
    """Says what to do where something of the data set is missing."""
    if (root / "classes.txt").is_file():
        return (
            f"put the frames of your videos at {root}/Data/VID/SPLIT/VIDEO/000000.jpg and their "
            "boxes at Annotations/VID/SPLIT/VIDEO/000000.xml, or set --data.root"
        )
    return (
        f"unpack ILSVRC2015_VID.tar.gz and ILSVRC2015_DET.tar.gz so that {root} holds Data, "
        "Annotations and ImageSets, or set --data.root"
    )
