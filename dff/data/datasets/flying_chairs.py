"""Flying Chairs, and other pairs of frames with true flow that are laid out like it, or as KITTI's.

    ROOT/[data/]00001_img1.ppm  00001_img2.ppm  00001_flow.flo        as it is distributed
    ROOT/[data/]0000000-img0.png  0000000-img1.png  0000000-gt.flo    as FlowNet2's samples are
    ROOT/image_2/000000_10.png  _11.png, flow_occ/000000_10.png       KITTI 2015 (or flow_noc)

The flow of a pair goes from its first frame to its second. So the first is the current frame of
this project, and the second the key frame.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from dff.data.files.flow import FLOW_SUFFIXES, read_flow
from dff.data.files.images import natural_order, read_image
from dff.data.samples import SampleError
from dff.data.transforms.pairs import Arrays

SPLIT_FILE = "FlyingChairs_train_val.txt"
"""Name of the official split: one number a line for each pair, 1 to train on, 2 held out."""
HELD_OUT_EVERY = 10
"""Without a split file, every so many pairs one is held out."""
FEW_PAIRS, HELD_OUT_OF_FEW = 20, 4
"""Of fewer pairs than this, one of every four, so that one is held out at all."""

_IMAGES = (".ppm", ".png", ".jpg", ".jpeg")
_STYLES = (  # the ending of: current frame, key frame, flow
    ("_img1", "_img2", "_flow"),
    ("-img0", "-img1", "-gt"),
)
_KITTI_FLOWS = ("flow_occ", "flow_noc")


class FlowFiles(NamedTuple):
    """The files of one pair: two frames, and the flow from the current to the key frame."""

    current: str
    key: str
    flow: str


@dataclass(frozen=True)
class PairReader:
    """Reads pairs: number of the pair -> arrays; for `FlowPairs`."""

    files: Sequence[FlowFiles]

    def __call__(self, index: int) -> Arrays:
        """Reads one pair.

        Raises:
            FileNotFoundError: A file is missing.
            SampleError: A file is damaged, or one is of another size than the others.
        """
        return read_pair(self.files[index])


def read_pair(files: FlowFiles) -> Arrays:
    """Reads current, key (H, W, 3) uint8, flow (H, W, 2) float32 and flow_known (H, W) bool.

    Raises:
        FileNotFoundError: A file is missing.
        SampleError: A file is damaged, or one is of another size than the others.
    """
    current, key = read_image(files.current), read_image(files.key)
    if current.shape != key.shape:
        raise SampleError(
            f"the frames of a pair differ in size: {files.current} is {_size(current)}, "
            f"{files.key} is {_size(key)}; copy both again from their source"
        )
    flow, known = read_flow(files.flow)
    if known.shape != current.shape[:2]:
        raise SampleError(
            f"{files.flow} is of another size than its images: {_size(flow)}, and {files.current} "
            f"is {_size(current)} (height x width); copy them again from their source"
        )
    return {"current": current, "key": key, "flow": flow, "flow_known": known}


def find_pairs(root: str | os.PathLike) -> list[FlowFiles]:
    """Lists the pairs of a folder, or of its subfolders where it has none itself; opens no file.

    Raises:
        FileNotFoundError: There is no such folder, or no pair in it.
        SampleError: An image lacks its partner or its flow, or is no part of a pair.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"no folder {root}: unpack FlyingChairs.zip there, or set --data.root"
        )
    if (root / "image_2").is_dir():
        return _kitti_pairs(root)
    if pairs := _pairs_in(root):
        return pairs
    folders = sorted((f for f in root.iterdir() if f.is_dir()), key=lambda f: natural_order(f.name))
    if pairs := [pair for folder in folders for pair in _pairs_in(folder)]:
        return pairs
    raise FileNotFoundError(
        f"no pairs in {root}: want files such as 00001_img1.ppm, 00001_img2.ppm and "
        "00001_flow.flo, or 0000000-img0.png, 0000000-img1.png and 0000000-gt.flo, there or in a "
        "subfolder, or the folders image_2 and flow_occ of KITTI; set --data.root"
    )


def split_pairs(
    pairs: Sequence[FlowFiles],
    split: Literal["train", "val"],
    split_file: str | os.PathLike | None = None,
) -> list[FlowFiles]:
    """Returns the pairs of one split.

    By the split file where there is one: the one given, else `FlyingChairs_train_val.txt` in the
    folder of the pairs or the one above. Otherwise every tenth pair is held out (the 10th, the
    20th, ...), and every fourth where there are fewer than 20.

    Args:
        pairs: From `find_pairs`.
        split: Which.
        split_file: One number for each pair, in the order of their names.

    Raises:
        FileNotFoundError: The split file that was given is missing.
        SampleError: The split file is damaged, or belongs to other pairs.
        ValueError: The split is empty.
    """
    file = _beside(pairs) if split_file is None else Path(split_file)
    if file is None:
        every = HELD_OUT_EVERY if len(pairs) >= FEW_PAIRS else HELD_OUT_OF_FEW
        held_out = [number % every == every - 1 for number in range(len(pairs))]
    else:
        held_out = _read_split(file, len(pairs))
    chosen = [p for p, out in zip(pairs, held_out, strict=True) if out == (split == "val")]
    if not chosen:
        raise ValueError(
            f"none of {len(pairs)} pairs is in the split {split}: add pairs, give another "
            "--data.split_file, or train and validate on all with --data.all_pairs true"
        )
    return chosen


def _pairs_in(folder: Path) -> list[FlowFiles]:
    """The pairs of one folder, in natural order; none where no file is named like one."""
    found: dict[tuple[str, int], dict[int, Path]] = {}
    strays = []
    for path in folder.iterdir():
        suffix = path.suffix.lower()
        if path.name.startswith(".") or suffix not in (*_IMAGES, *FLOW_SUFFIXES):
            continue
        match = re.fullmatch(r"(.+)([_-](?:img[012]|flow|gt))", path.stem)
        roles = [(i, s.index(match[2])) for i, s in enumerate(_STYLES) if match and match[2] in s]
        # a flow is in a flow file and an image in an image file; .png may be either
        if (
            match is None
            or not roles
            or suffix not in (FLOW_SUFFIXES if roles[0][1] == 2 else _IMAGES)
        ):
            strays.append(path)
            continue
        style, role = roles[0]
        there = found.setdefault((match[1], style), {})
        if role in there:
            raise SampleError(f"{there[role]} and {path} are the same file twice: delete one")
        there[role] = path
    if found and strays:
        raise SampleError(
            f"{min(strays)} is no part of a pair: its name ends in none of _img1, _img2, _flow or "
            "-img0, -img1, -gt; take it out of the folder"
        )
    pairs = []
    for name, style in sorted(found, key=lambda k: (natural_order(k[0]), k[1])):
        there, endings = found[name, style], _STYLES[style]
        if len(there) < 3:
            lacking = [f"{name}{endings[role]}" for role in range(3) if role not in there]
            raise SampleError(
                f"{there[min(there)]} lacks {' and '.join(lacking)} beside it: a pair is two "
                "images and their flow; copy what is missing, or delete the rest of the pair"
            )
        pairs.append(FlowFiles(*(str(there[role]) for role in range(3))))
    return pairs


def _kitti_pairs(root: Path) -> list[FlowFiles]:
    flows = next((root / name for name in _KITTI_FLOWS if (root / name).is_dir()), None)
    if flows is None:
        raise FileNotFoundError(
            f"no flow_occ or flow_noc in {root}, beside image_2: unpack KITTI's training set "
            "there, or set --data.root to its folder `training`"
        )
    pairs = []
    # image_2 holds more frames than these two where the multi-view extension was unpacked
    for current in sorted((root / "image_2").glob("*_10.png")):
        key, flow = current.with_name(f"{current.stem[:-1]}1.png"), flows / current.name
        for wanted in (key, flow):
            if not wanted.is_file():
                raise SampleError(
                    f"{current} lacks {wanted}: a pair is two images and their flow; copy what is "
                    "missing, or delete the rest of the pair"
                )
        pairs.append(FlowFiles(str(current), str(key), str(flow)))
    if not pairs:
        raise FileNotFoundError(f"no pairs in {root / 'image_2'}: want files such as 000000_10.png")
    return pairs


def _beside(pairs: Sequence[FlowFiles]) -> Path | None:
    folders = {Path(pair.current).parent for pair in pairs}
    if len(folders) != 1:
        return None
    folder = folders.pop()
    files = (folder / SPLIT_FILE, folder.parent / SPLIT_FILE)
    return next((file for file in files if file.is_file()), None)


def _read_split(file: Path, count: int) -> list[bool]:
    """Whether each pair is held out."""
    if not file.is_file():
        raise FileNotFoundError(f"no split file {file}: set --data.split_file, or leave it out")
    try:
        lines = file.read_text(encoding="utf-8-sig").split()
    except UnicodeDecodeError:
        raise SampleError(f"{file} is no text: want 1 or 2 a line, one for each pair") from None
    for number, line in enumerate(lines, 1):
        if line not in ("1", "2"):
            raise SampleError(
                f"{file} says {line[:20]!r} for pair {number}: want 1 (train) or 2 (held out)"
            )
    if len(lines) != count:
        raise SampleError(
            f"{file} splits {len(lines)} pairs, but there are {count}: complete the data, or give "
            "the --data.split_file that belongs to it"
        )
    return [line == "2" for line in lines]


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
