"""Cityscapes: leftImg8bit_sequence and gtFine as snippets, 19 classes, and their palette.

The layout is the official one, with frames as PNG or JPEG:

    ROOT/leftImg8bit_sequence/{split}/{city}/{city}_{sequence}_{frame}_leftImg8bit.png
    ROOT/gtFine/{split}/{city}/{city}_{sequence}_{frame}_gtFine_labelIds.png

A labelled frame that the sequences lack is taken from ROOT/leftImg8bit, the single images. Boxes
are those around the instances of *_gtFine_instanceIds.png, beside the labelIds.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dff.data.files.images import read_labels, values_in
from dff.data.samples import (
    IGNORED,
    Boxes,
    SampleError,
    Snippet,
    Snippets,
    TrueBoxes,
    TrueFlow,
)

# train id, name, label id on disk, colour: cityscapesScripts, helpers/labels.py
_CLASSES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
FIRST_THING_ID, LAST_LABEL_ID = 24, 33
LAST_TRAIN_ID = len(_CLASSES) - 1

CLASSES: tuple[str, ...] = tuple(name for name, _, _ in _CLASSES)
PALETTE: np.ndarray = np.array([colour for _, _, colour in _CLASSES], np.uint8)
"""(19, 3) uint8 RGB, row = train id."""

LABEL_ID_TO_TRAIN_ID: np.ndarray = np.full(256, IGNORED, np.uint8)
"""(256,) uint8: label id on disk -> train id; ids without one -> 255."""
TRAIN_ID_TO_LABEL_ID: np.ndarray = np.zeros(256, np.uint8)
"""(256,) uint8: train id -> label id, as the benchmark server wants it; everything else -> 0."""
for _train_id, (_, _label_id, _) in enumerate(_CLASSES):
    LABEL_ID_TO_TRAIN_ID[_label_id] = _train_id
    TRAIN_ID_TO_LABEL_ID[_train_id] = _label_id

BOX_CLASSES: tuple[str, ...] = CLASSES[CLASSES.index("person") :]
"""The 8 classes whose instances are told apart: person 0, rider, car, ..., bicycle 7."""
LABEL_ID_TO_BOX_CLASS: np.ndarray = np.full(256, -1, np.int8)
"""(256,) int8: label id on disk -> class of a box; ids without instances -> -1."""
for _number, _name in enumerate(BOX_CLASSES):
    LABEL_ID_TO_BOX_CLASS[TRAIN_ID_TO_LABEL_ID[CLASSES.index(_name)]] = _number

_FRAME = re.compile(r"(.+_\d+)_(\d+)_leftImg8bit\.(?:png|jpe?g)")
_LABELS = re.compile(r"(.+_\d+)_(\d+)_gtFine_labelIds\.png")
LABELS_TO_INSTANCES = ("_gtFine_labelIds.png", "_gtFine_instanceIds.png")
LABEL_IDS_CURE = (
    "put the files of gtFine_trainvaltest.zip there as they are (7 is road, and 0 unlabelled, in "
    "labels of your own too), or read train ids as a folder data set"
)
INSTANCES_CURE = (
    "put the *_gtFine_instanceIds.png of gtFine_trainvaltest.zip there, or train without with_boxes"
)

Found = dict[str, dict[int, str]]
"""Snippet name -> frame number -> file."""


def read_train_ids(path: str | os.PathLike) -> np.ndarray:
    """Reads a labelIds file as train ids, (H, W) uint8, 255 ignored.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: The file is damaged, holds ids that are no Cityscapes label ids, or 255 beside
            nothing above 18: label ids are never 255, and train ids are.
    """
    labels = read_labels(path)
    # the largest is known at once, and which there are only after 4 ms
    present = values_in(labels) if labels.max() > LAST_LABEL_ID else np.empty(0, labels.dtype)
    wrong = present[(present > LAST_LABEL_ID) & (present != IGNORED)]
    if len(wrong):
        raise SampleError(
            f"{path} holds the ids {', '.join(map(str, wrong[:10]))}, but label ids are "
            f"0..{LAST_LABEL_ID} and {IGNORED}: use the *_gtFine_labelIds.png files, not "
            "instanceIds or color, or read your own classes as a folder data set"
        )
    classes = present[present != IGNORED]
    if len(classes) < len(present) and len(classes) and classes[-1] <= LAST_TRAIN_ID:
        raise SampleError(
            f"{path} holds {IGNORED} and no id above {LAST_TRAIN_ID}, as train ids do and label "
            f"ids do not: {LABEL_IDS_CURE}"
        )
    return cv2.LUT(labels.astype(np.uint8, copy=False), LABEL_ID_TO_TRAIN_ID)


@dataclass(frozen=True)
class InstanceBoxes:
    """Boxes around the instances of one snippet; no tracks, as only single frames are labelled.

    Args:
        labels: Frame number -> its labelIds file; the instanceIds file lies beside it.
    """

    labels: Mapping[int, str]

    def boxes(self, frame: int) -> Boxes:
        """Returns the boxes of a frame: read_instance_boxes of its instanceIds file."""
        return read_instance_boxes(self.labels[frame].replace(*LABELS_TO_INSTANCES))

    def motion(self, frame: int) -> None:
        """One frame of a snippet is labelled: nothing tells how its things move."""


def read_instance_boxes(path: str | os.PathLike) -> Boxes:
    """Reads the boxes around the instances of an instanceIds file.

    An instance has the number label id * 1000 + its own. A label id alone is a thing that nobody
    told apart from its neighbours, such as a crowd: no box.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: The file is damaged, or holds instances of no class that has any.
    """
    try:
        ids = read_labels(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing, from which boxes are read: unpack gtFine_trainvaltest.zip again, "
            "or train without with_boxes"
        ) from None
    present = values_in(ids)
    if ids.dtype == np.uint8 and len(present) and present[-1] >= FIRST_THING_ID:
        raise SampleError(
            f"{path} has 8 bit, in which no instance has a number (label id * 1000 + its own), and "
            f"so holds label ids: {INSTANCES_CURE}"
        )
    present = present[present >= 1000].astype(np.int64)
    things = present // 1000
    if len(wrong := present[(things < FIRST_THING_ID) | (things > LAST_LABEL_ID)]):
        raise SampleError(
            f"{path} holds the instances {', '.join(map(str, wrong[:10]))}, but instances are "
            f"label id * 1000 + number of {', '.join(BOX_CLASSES)}: "
            "use the *_gtFine_instanceIds.png files of the data set"
        )
    # caravans and trailers are told apart too, but are none of the classes that count
    present = present[LABEL_ID_TO_BOX_CLASS[things] >= 0]
    labels = LABEL_ID_TO_BOX_CLASS[present // 1000].astype(np.int64)
    corners = np.zeros((len(present), 4), np.float32)
    for row, number in enumerate(present):
        left, top, width, height = cv2.boundingRect((ids == number).view(np.uint8))
        corners[row] = left, top, left + width - 1, top + height - 1
    return Boxes(corners, labels, np.full(len(present), -1), ids.shape)


def find_snippets(
    root: str | os.PathLike,
    split: str,
    truth: Callable[[str], TrueFlow | None] | None = None,
    require_labels: bool = True,
    boxes: Callable[[str], TrueBoxes | None] | None = None,
) -> Snippets:
    """Lists the snippets of one split; opens no file.

    Args:
        root: Folder that holds leftImg8bit_sequence and gtFine.
        split: "train", "val" or "test", or any other folder name.
        truth: Snippet name -> its exact flow; drawn data has it.
        require_labels: Whether snippets without labels are left out, and none at all is an error.
            Prediction needs no labels.
        boxes: Snippet name -> its boxes, where they are known better than from instanceIds.

    Raises:
        FileNotFoundError: The root, the split or the frames or labels in it are missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: {_cure(root)}")
    frames = _list(root / "leftImg8bit_sequence" / split, _FRAME)
    labels = _list(root / "gtFine" / split, _LABELS)
    lost = [(n, i) for n, numbers in labels.items() for i in numbers if i not in frames.get(n, {})]
    if lost or not frames:
        single = _list(root / "leftImg8bit" / split, _FRAME)
        if not require_labels and not frames:
            frames = single
        for name, number in lost:
            if path := single.get(name, {}).get(number):
                frames.setdefault(name, {})[number] = path
    if require_labels and not labels:
        folder = root / "gtFine" / split
        raise FileNotFoundError(f"no *_gtFine_labelIds.png in {folder}: {_cure(root)}")
    if not frames:
        folder = root / "leftImg8bit_sequence" / split
        raise FileNotFoundError(
            f"no *_leftImg8bit.png or .jpg in {folder}, or none of a labelled frame: {_cure(root)}"
        )

    snippets, left_out = Snippets(), 0
    for name in sorted(frames.keys() | labels.keys()):
        numbers = dict(sorted(frames.get(name, {}).items()))
        known = {i: path for i, path in sorted(labels.get(name, {}).items()) if i in numbers}
        left_out += len(labels.get(name, {})) - len(known)
        if known or (numbers and not require_labels):
            flow = truth(name) if truth else None
            better = boxes(name) if boxes else None
            known_boxes = better or InstanceBoxes(known)
            snippets.append(Snippet(name, numbers, list(known), known, known_boxes, known, flow))
    snippets.labels_left_out = left_out
    if not snippets:
        raise FileNotFoundError(
            f"none of the {left_out} label files in {root / 'gtFine' / split} has its frame in "
            f"{root / 'leftImg8bit_sequence' / split}: {_cure(root)}"
        )
    return snippets


def _list(split_folder: Path, pattern: re.Pattern[str]) -> Found:
    """Lists the files of all cities: one scandir for each folder and no stat for each file."""
    found: Found = defaultdict(dict)
    try:
        cities = sorted(entry.name for entry in os.scandir(split_folder) if entry.is_dir())
    except FileNotFoundError:
        return {}
    for city in cities:
        folder = os.path.join(split_folder, city)
        # sorted: of a frame that is there twice, the .png comes last and is taken
        for file in sorted(entry.name for entry in os.scandir(folder)):
            if match := pattern.fullmatch(file):
                found[f"{city}/{match[1]}"][int(match[2])] = os.path.join(folder, file)
    return dict(found)


def _cure(root: Path) -> str:
    return (
        "unpack leftImg8bit_sequence_trainvaltest.zip and gtFine_trainvaltest.zip in "
        f"{root}, or set --data.root"
    )
