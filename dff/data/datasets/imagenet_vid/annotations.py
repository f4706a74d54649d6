"""Annotation files of ImageNet VID and DET, XML -> boxes, read strictly; and the 30 classes."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from dff.data.files.xml_trees import parse_xml
from dff.data.samples import SampleError

# WordNet id and name, in the order of the classes: map_vid.txt of the evaluation kit
_CLASSES = (
    ("n02691156", "airplane"),
    ("n02419796", "antelope"),
    ("n02131653", "bear"),
    ("n02834778", "bicycle"),
    ("n01503061", "bird"),
    ("n02924116", "bus"),
    ("n02958343", "car"),
    ("n02402425", "cattle"),
    ("n02084071", "dog"),
    ("n02121808", "domestic_cat"),
    ("n02503517", "elephant"),
    ("n02118333", "fox"),
    ("n02510455", "giant_panda"),
    ("n02342885", "hamster"),
    ("n02374451", "horse"),
    ("n02129165", "lion"),
    ("n01674464", "lizard"),
    ("n02484322", "monkey"),
    ("n03790512", "motorcycle"),
    ("n02324045", "rabbit"),
    ("n02509815", "red_panda"),
    ("n02411705", "sheep"),
    ("n01726692", "snake"),
    ("n02355227", "squirrel"),
    ("n02129604", "tiger"),
    ("n04468005", "train"),
    ("n01662784", "turtle"),
    ("n04530566", "watercraft"),
    ("n02062744", "whale"),
    ("n02391049", "zebra"),
)
CLASSES: tuple[str, ...] = tuple(name for _, name in _CLASSES)
WORDNET_IDS: tuple[str, ...] = tuple(number for number, _ in _CLASSES)

_WORDNET_ID = re.compile(r"n\d{8}")
_LONGEST_SIDE = 2**16  # pixels
_LARGEST = 2**24  # bytes; the largest real one has some 100,000
_CURE = "unpack it again from the archive of the data set, or train with skip_damaged"


class Annotation(NamedTuple):
    """What one annotation file says.

    `height`, `width`: of the image. `rows`: (x1, y1, x2, y2, class, track) for each box, inside the
    image, all inclusive; track -1 where the file has none, or one for several objects.
    `clipped`, `beyond`: how many boxes reached beyond the image, and by how many pixels at most.
    """

    height: int
    width: int
    rows: list[tuple[float, float, float, float, int, int]]
    clipped: int
    beyond: float


class Annotations(NamedTuple):
    """What several annotation files say, in flat arrays.

    `sizes`: (F, 2) int32, height and width; 0 for a file that cannot be used.
    `counts`: (F,) int32, boxes of each file. `corners`: (N, 4) float32. `labels`: (N,) uint8.
    `tracks`: (N,) int32. `problems`: position of a file that cannot be used -> why.
    `clipped`, `beyond`: as in `Annotation`, of all files.
    """

    sizes: np.ndarray
    counts: np.ndarray
    corners: np.ndarray
    labels: np.ndarray
    tracks: np.ndarray
    problems: dict[int, str]
    clipped: int
    beyond: float


def read_annotation(
    path: str | os.PathLike,
    other_classes: bool = False,
    names: Sequence[str] = WORDNET_IDS,
) -> Annotation:
    """Reads one annotation file.

    Boxes are clipped to the image, as the authors do: many reach a pixel beyond it. Nothing in a
    file is expanded: a file that declares a document type or entities is refused unparsed.

    Args:
        path: The XML file.
        other_classes: Whether objects of other classes are passed over, as DET has them; else
            they are an error.
        names: What files call the classes, in their order.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: The file is cut short, no annotation, or holds what cannot be: a box that is
            reversed or outside the image, an unknown class.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: {_CURE}") from None
    root = _parse(path, data)
    height, width = (_number(path, root, f"size/{side}") for side in ("height", "width"))
    if not (1 <= height <= _LONGEST_SIDE and 1 <= width <= _LONGEST_SIDE):
        raise SampleError(f"{path} says that its image is {height:g}x{width:g}: {_CURE}")
    rows, clipped, most = [], 0, 0.0
    for thing in root.iter("object"):
        label = _class_of(path, thing.findtext("name", ""), other_classes, names)
        if label is None:
            continue
        x1, y1, x2, y2 = corners = [
            _number(path, thing, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")
        ]
        if x2 < x1 or y2 < y1:
            raise SampleError(
                f"{path} has a box that ends before it begins, {_box(corners)}: correct it, "
                "or train with skip_damaged"
            )
        beyond = max(-x1, -y1, x2 - (width - 1), y2 - (height - 1))
        if beyond > 0:
            x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width - 1), min(y2, height - 1)
            if x2 < x1 or y2 < y1:
                raise SampleError(
                    f"{path} has a box outside its image of {height:g}x{width:g}, "
                    f"{_box(corners)}: correct it, or train with skip_damaged"
                )
            clipped, most = clipped + 1, max(most, beyond)
        rows.append((x1, y1, x2, y2, label, _track(path, thing)))
    # some tools give all objects one number, which tells nothing of where they go
    count = Counter(row[5] for row in rows)
    rows = [(*row[:5], row[5] if count[row[5]] == 1 else -1) for row in rows]
    return Annotation(int(height), int(width), rows, clipped, most)


def read_annotations(
    paths: Iterable[str], other_classes: bool = False, names: Sequence[str] = WORDNET_IDS
) -> Annotations:
    """Reads many annotation files; those that cannot be used are told, not raised.

    Args:
        paths: The XML files.
        other_classes: See `read_annotation`.
        names: See `read_annotation`.
    """
    sizes, counts, rows, problems = [], [], [], {}
    clipped, beyond = 0, 0.0
    for position, path in enumerate(paths):
        try:
            one = read_annotation(path, other_classes, names)
        except (SampleError, OSError) as error:
            problems[position] = str(error)
            one = Annotation(0, 0, [], 0, 0.0)
        sizes.append((one.height, one.width))
        counts.append(len(one.rows))
        rows += one.rows
        clipped, beyond = clipped + one.clipped, max(beyond, one.beyond)
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Annotations(
        np.array(sizes, np.int32).reshape(-1, 2),
        np.array(counts, np.int32),
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.uint8),
        table[:, 5].astype(np.int32),
        problems,
        clipped,
        beyond,
    )


def _parse(path: str | os.PathLike, data: bytes) -> ElementTree.Element:
    root = parse_xml(path, data, _CURE, _LARGEST)
    if root.tag != "annotation":
        raise SampleError(f"{path} is no annotation, but a <{root.tag}>: {_CURE}")
    return root


def _number(path: str | os.PathLike, element: ElementTree.Element, name: str) -> float:
    text = element.findtext(name)
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        what = f"no <{name}>" if text is None else f"{text!r} as <{name}>"
        raise SampleError(f"{path} has {what}, where a number belongs: {_CURE}")
    return number


def _track(path: str | os.PathLike, element: ElementTree.Element) -> int:
    if element.find("trackid") is None:
        return -1
    track = _number(path, element, "trackid")
    if not -1 <= track < 2**31:
        raise SampleError(f"{path} has {track:g} as <trackid>: want a number from 0; {_CURE}")
    return int(track)


def _class_of(
    path: str | os.PathLike, name: str, other_classes: bool, names: Sequence[str]
) -> int | None:
    if name in names:
        return names.index(name)
    if other_classes and _WORDNET_ID.fullmatch(name):
        return None
    wanted = f"one of the {len(names)} names in classes.txt, such as {names[0]}"
    if tuple(names) == WORDNET_IDS:
        which = "a WordNet id" if other_classes else f"one of the {len(names)} WordNet ids"
        wanted = f"{which} of ImageNet VID, such as {names[0]} ({CLASSES[0]})"
    raise SampleError(
        f"{path} has an object of class {name!r}: want {wanted}; correct it, name classes of your "
        "own in classes.txt, or train with skip_damaged"
    )


def _box(corners: list[float]) -> str:
    x1, y1, x2, y2 = corners
    return f"x {x1:g} to {x2:g}, y {y1:g} to {y2:g}"
