"""Boxes in COCO's JSON, as most tools export them: images, or the frames of videos.

    {"categories": [{"id": 3, "name": "car"}, ...],
     "images": [{"id": 7, "file_name": "drive/000012.jpg", "width": 640, "height": 480}, ...],
     "annotations": [{"image_id": 7, "category_id": 3, "bbox": [x, y, width, height]}, ...]}

Videos are told by CocoVID's fields (`video_id` and `frame_id` of an image, `instance_id` of a box).
Where they lack, the images of a folder whose names end in numbers are the frames of one video, and
images beside them that the file does not list are frames without labels.
"""

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dff.data.samples import Boxes, SampleError, Snippet, Snippets

_IMAGES = (".png", ".jpg", ".jpeg")
_NUMBERED = re.compile(r"(.*?)(\d+)")
_RENAMED = re.compile(r"\.rf\.[0-9a-f]+$", re.IGNORECASE)  # an export that drew images by chance
_CURE = "export the labels again as COCO JSON"


@dataclass(frozen=True)
class CocoBoxes:
    """The boxes of one snippet, in arrays that processes share.

    Args:
        frames: (N,) number of the frame of each box, increasing.
        corners: (N, 4) float32, inclusive.
        labels: (N,) classes from 0.
        tracks: (N,) one number for each object, -1 where it is not told.
        sizes: Frame -> height and width as the file tells them.
    """

    frames: np.ndarray
    corners: np.ndarray
    labels: np.ndarray
    tracks: np.ndarray
    sizes: Mapping[int, tuple[int, int]]

    def boxes(self, frame: int) -> Boxes:
        """The boxes of a labelled frame."""
        rows = slice(*np.searchsorted(self.frames, [frame, frame + 1]))
        return Boxes(
            self.corners[rows], self.labels[rows], self.tracks[rows], self.sizes.get(frame)
        )

    def motion(self, frame: int) -> None:
        """Not told: the groups by motion are those of ImageNet VID."""


@dataclass(frozen=True)
class CocoFile:
    """What a file holds that is used, checked.

    Attributes:
        path: Of the file.
        classes: Names of the categories that are used, or that are listed and have no others below
            them, in the order of their ids.
        images: As they are there, in the order of the file.
        annotations: Of boxes, likewise.
        names: Category id -> name.
    """

    path: Path
    classes: tuple[str, ...]
    images: Sequence[Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]
    names: Mapping[int, str]


def read_coco(path: str | os.PathLike) -> CocoFile:
    """Reads a file, and checks what is used of it.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: It is no such JSON, or parts of it do not belong together.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no COCO file at {path}: check the path")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise SampleError(f"{path} is no JSON ({error}): {_CURE}") from error
    images, annotations, categories = (
        _entries(path, content, name) for name in ("images", "annotations", "categories")
    )
    boxes = [a for a in annotations if a.get("bbox")]
    crowds = [a for a in boxes if a.get("iscrowd")]
    try:
        names = {int(c["id"]): str(c["name"]) for c in categories}
        used = {int(a["category_id"]) for a in boxes}
        parents = {str(c.get("supercategory")) for c in categories}
        known = {image["id"] for image in images}
        files = [str(image["file_name"]) for image in images]
        strange = [a["image_id"] for a in boxes if a["image_id"] not in known]
    except (KeyError, TypeError, ValueError) as error:
        raise SampleError(
            f"{path} has an entry without {error}: wanted id and name of categories, id and "
            f"file_name of images, image_id, category_id and bbox of annotations; {_CURE}"
        ) from error
    if unknown := used - names.keys():
        raise SampleError(f"{path} uses category {min(unknown)}, which it does not list: {_CURE}")
    if strange:
        raise SampleError(
            f"{path} has {len(strange)} boxes of images that it does not list, such as "
            f"{strange[0]}: {_CURE}"
        )
    if twice := [name for name, count in Counter(files).items() if count > 1]:
        raise SampleError(f"{path} lists {len(twice)} images twice, such as {twice[0]}: {_CURE}")
    real = [i for i in sorted(names) if i in used or names[i] not in parents]
    _say_dropped(path, [names[i] for i in names if i not in real], len(crowds))
    classes = tuple(dict.fromkeys(names[i] for i in real))
    if not classes:
        raise SampleError(f"{path} has no category: {_CURE}")
    boxes = [a for a in boxes if not a.get("iscrowd")]
    return CocoFile(path, classes, images, boxes, names)


def _entries(path: Path, content: Any, name: str) -> list[dict[str, Any]]:
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SampleError(f"{path} has no list of {name}, as COCO's files have: {_CURE}")
    return entries


def _say_dropped(path: Path, parents: Sequence[str], crowds: int) -> None:
    told = []
    if parents:
        told.append(f"the categories {', '.join(parents)}, which only have others below them")
    if crowds:
        told.append(f"{crowds} boxes of crowds")
    if told:
        warnings.warn(f"{path}: left out are {' and '.join(told)}", stacklevel=3)


def find_snippets(
    file: CocoFile, root: str | os.PathLike, classes: Sequence[str] | None = None
) -> Snippets:
    """The videos and images of a file; every image that it lists is labelled, boxes or none.

    Args:
        file: See `read_coco`.
        root: The folder that its file names are in.
        classes: Names in the order of the labels; those of the file if None.

    Raises:
        FileNotFoundError: The first image of a video is not there.
        SampleError: A category is none of `classes`, or a box is none.
    """
    order = {name: i for i, name in enumerate(classes or file.classes)}
    if foreign := [name for name in file.classes if name not in order]:
        raise SampleError(
            f"{file.path} has the category {foreign[0]!r}, and the training has "
            f"{', '.join(order)}: both files must name the same things alike"
        )
    labels = {i: order[name] for i, name in file.names.items() if name in order}
    of_image: dict[Any, list[Mapping[str, Any]]] = {}
    for annotation in file.annotations:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    clipped = Counter[str]()
    snippets = []
    for name, images in _videos(file).items():
        frames = {n: os.path.join(root, _file_name(image)) for n, image in images.items()}
        first = frames[min(frames)]
        if not os.path.isfile(first):
            raise FileNotFoundError(
                f"{file.path} lists {_file_name(images[min(frames)])}, and there is no {first}: "
                "give the folder that its file names are in with --data.root"
            )
        boxes = _boxes(file, images, of_image, labels, clipped)
        if not any("video_id" in image for image in images.values()):
            frames |= _beside(first, frames)
        snippets.append(Snippet(name, dict(sorted(frames.items())), sorted(images), boxes=boxes))
    if told := ", ".join(f"{count} {what}" for what, count in clipped.items() if count):
        warnings.warn(f"{file.path}: of its boxes, {told}", stacklevel=2)
    return Snippets(snippets)


def _videos(file: CocoFile) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Video -> number of the frame -> image; a single image is a video of one frame."""
    videos: dict[str, dict[int, Mapping[str, Any]]] = {}
    for image in file.images:
        name = _file_name(image)
        folder, stem = os.path.split(os.path.splitext(name)[0])
        numbered = None if _RENAMED.search(stem) else _NUMBERED.fullmatch(stem)
        if "video_id" in image:
            video, number = f"video_{image['video_id']}", image.get("frame_id")
        elif numbered:
            video, number = f"{folder}/{numbered[1]}".strip("/") or "frames", int(numbered[2])
        else:
            video, number = name, 0
        if not isinstance(number, int) or number < 0:
            raise SampleError(
                f"{file.path}: the image {name} of a video has frame_id {number!r}: wanted its "
                f"number in the video, from 0; {_CURE}"
            )
        frames = videos.setdefault(video, {})
        if number in frames:
            raise SampleError(
                f"{file.path}: {name} and {_file_name(frames[number])} are both frame {number} of "
                f"{video}: {_CURE}"
            )
        frames[number] = image
    return videos


def _file_name(image: Mapping[str, Any]) -> str:
    """As it is on this system: some tools write the backslashes of another one."""
    return str(image["file_name"]).replace("\\", "/")


def _beside(first: str, listed: Mapping[int, str]) -> dict[int, str]:
    """Images beside those of a video that are numbered like them: frames without labels."""
    stem, suffix = os.path.splitext(os.path.basename(first))
    numbered = _NUMBERED.fullmatch(stem)
    if numbered is None or _RENAMED.search(stem):
        return {}
    folder, found = os.path.dirname(first), {}
    for name in os.listdir(folder):
        other, other_suffix = os.path.splitext(name)
        match = _NUMBERED.fullmatch(other)
        alike = match and match[1] == numbered[1] and other_suffix == suffix
        if match and alike and suffix.lower() in _IMAGES and int(match[2]) not in listed:
            found[int(match[2])] = os.path.join(folder, name)
    return found


def _boxes(
    file: CocoFile,
    images: Mapping[int, Mapping[str, Any]],
    of_image: Mapping[Any, Sequence[Mapping[str, Any]]],
    labels: Mapping[int, int],
    clipped: Counter[str],
) -> CocoBoxes:
    """The boxes of a video, in the project's convention: x2 and y2 belong to the box."""
    rows: list[tuple[float, ...]] = []
    sizes: dict[int, tuple[int, int]] = {}
    for number, image in sorted(images.items()):
        width, height = image.get("width"), image.get("height")
        if isinstance(width, int) and isinstance(height, int):
            sizes[number] = height, width
        for annotation in of_image.get(image["id"], ()):
            corners = _corners(file, annotation)
            last = np.array([width, height]) - 1 if number in sizes else np.full(2, np.inf)
            if (corners[2:] < np.maximum(corners[:2], 0)).any() or (corners[:2] > last).any():
                clipped["had no area in their image, and are left out"] += 1
                continue
            inside = np.clip(corners, 0, np.tile(last, 2))
            # a pixel over the border is rounding
            clipped["were clipped to their image"] += int(np.abs(inside - corners).max() > 1)
            corners = inside
            track = annotation.get("instance_id", annotation.get("track_id"))
            track = track if isinstance(track, int) else -1
            rows.append((number, *corners, labels[int(annotation["category_id"])], track))
    table = np.array(rows, float).reshape(-1, 7)
    return CocoBoxes(
        table[:, 0].astype(np.int64),
        table[:, 1:5].astype(np.float32),
        table[:, 5].astype(np.int64),
        table[:, 6].astype(np.int64),
        sizes,
    )


def _corners(file: CocoFile, annotation: Mapping[str, Any]) -> np.ndarray:
    box = annotation["bbox"]
    try:
        values = [float(value) for value in box]
    except (TypeError, ValueError):
        values = []
    if len(values) != 4 or not np.isfinite(values).all():
        raise SampleError(
            f"{file.path}: the box {box!r} of image {annotation['image_id']!r} is no four numbers "
            f"x, y, width, height: {_CURE}"
        )
    x, y, width, height = values
    return np.array([x, y, x + width - 1, y + height - 1])
