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
_NUMBER = re.compile(r"(\d{6})\.(?:xml|JPEG)")
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
    """

    name: str
    labelled: np.ndarray
    frames: np.ndarray

    @property
    def is_image(self) -> bool:
        """Whether it is one image of DET."""
        return self.name.startswith("DET/")

    def file(self, root: Path, kind: str, number: int) -> str:
        """Returns the path of a frame's image ("Data") or annotation ("Annotations")."""
        return frame_file(root, kind, self.name, number)


def frame_file(root: str | os.PathLike, kind: str, name: str, number: int) -> str:
    """Returns the path of a frame.

    Args:
        root: Folder with `Data` and `Annotations`.
        kind: "Data" or "Annotations".
        name: Of the snippet.
        number: Of the frame; a DET image has no number on disk.
    """
    stem = name if name.startswith("DET/") else f"{name}/{number:06d}"
    return os.path.join(root, kind, f"{stem}{'.JPEG' if kind == 'Data' else '.xml'}")


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
        elif numbers := [int(m[1]) for file in files if (m := _NUMBER.fullmatch(file))]:
            found[name] = sorted(numbers)
        elif files:
            raise SampleError(
                f"{folder} holds {files[0]}: frames and annotations of a video are called by six "
                "digits, 000000.xml and 000000.JPEG onwards"
            )
    return found


def frames_on_disk(root: Path, wanted: Wanted) -> list[Listed]:
    """Adds to what is wanted which frames are on disk."""
    inside: dict[str, set[str]] = {}
    listed = []
    for name, numbers in wanted.items():
        folder, _, image = name.rpartition("/") if name.startswith("DET/") else (name, "", "")
        if image:
            if folder not in inside:
                inside[folder] = set(_names_in(root / "Data" / folder))
            frames = [0] if f"{image}.JPEG" in inside[folder] else []
        else:
            matches = (_NUMBER.fullmatch(file) for file in _names_in(root / "Data" / folder))
            frames = sorted(int(match[1]) for match in matches if match)
        listed.append(Listed(name, np.array(numbers, np.int32), np.array(frames, np.int32)))
    return listed


def _names_in(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def how_to_unpack(root: Path) -> str:
    """Says what to do where something of the data set is missing."""
    return (
        f"unpack ILSVRC2015_VID.tar.gz and ILSVRC2015_DET.tar.gz so that {root} holds Data, "
        "Annotations and ImageSets, or set --data.root"
    )
