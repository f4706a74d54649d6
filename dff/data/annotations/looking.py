"""Finds out what a folder of data is, by looking at it: the layouts and formats that are known."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dff.data.annotations import masks as mask_files
from dff.data.annotations.annotation_set import AnnotationSet, Splits
from dff.data.annotations.formats import coco, coco_file, cvat, mask_folders, mot, voc, yolo
from dff.data.annotations.mask_sets import sets_of_masks
from dff.data.datasets import folder
from dff.data.samples import SampleError

Format = Literal["coco", "cvat", "yolo", "mot", "voc", "masks", "mask_folders"]
WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test", "testing", "dev"),
}
"""How files and folders of a split are called."""


class Found(NamedTuple):
    """What a folder is taken for.

    `format`: which reader. `files`: split -> what it reads there; "all" where no split is told.
    `why`: in one sentence. `folders`: of `mask_folders`, split -> images and masks.
    """

    format: Format
    files: dict[str, Path]
    why: str
    folders: Mapping[str, mask_folders.Folders] = {}


def look(root: str | os.PathLike, wanted: Format | None = None) -> Found:
    """Says what a folder holds.

    Args:
        root: Folder of the data.
        wanted: The format, where somebody has said it; None looks for all of them.

    Raises:
        FileNotFoundError: There is no such folder.
        SampleError: Nothing known is in it, or not what was wanted.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: set --data.root to the folder with your data")
    order: tuple[Format, ...] = ("masks", "yolo", "coco", "cvat", "mot", "voc", "mask_folders")
    for name in order if wanted is None else (wanted,):
        found = _LOOKS[name](root)
        if found is not None:
            return found
    what = f"no {wanted} data" if wanted else "no labels of a known kind"
    if wanted in (None, "coco") and (damaged := _damaged_json(root)):
        raise SampleError(f"{what} in {root}: {damaged}")
    held = ", ".join(sorted(os.listdir(root))[:8]) or "nothing"
    raise SampleError(
        f"{what} in {root}, which holds {held}: wanted one of frames/ and masks/ (in train/ and "
        "val/, or alone), images/ and masks/ (or JPEGImages/ and SegmentationClass/, and others), "
        "a COCO or YouTube-VIS .json, CVAT's .xml, YOLO's data.yaml, gt/gt.txt of MOT, or "
        "Annotations/*.xml of Pascal VOC; see the page on your own data"
    )


def read(
    root: str | os.PathLike,
    wanted: Format | None = None,
    with_masks: bool | None = None,
    masks: mask_files.MaskKind | None = None,
) -> Splits:
    """Reads what a folder holds.

    Args:
        root: Folder of the data.
        wanted: Its format; None finds it out.
        with_masks: Whether masks are drawn of outlines, where a format has both boxes and outlines.
        masks: What the values of mask files mean; None finds it out.

    Raises:
        FileNotFoundError: A folder or file is missing.
        SampleError: Nothing known is there, or a file cannot be used.
    """
    found = look(root, wanted)
    outlines = bool(with_masks)
    sets: dict[str, AnnotationSet]
    if found.format == "masks":
        names = {s: "" if s == "all" else place.name for s, place in found.files.items()}
        snippets = {s: folder.find_snippets(root, name) for s, name in names.items()}
        places = {s: place / "masks" for s, place in found.files.items()}
        sets = sets_of_masks("frames and masks", Path(root), snippets, places, masks)
    elif found.format == "mask_folders":
        snippets = {s: mask_folders.find_masked_images(f) for s, f in found.folders.items()}
        sets = sets_of_masks("images and masks", Path(root), snippets, found.files, masks)
    elif found.format == "yolo":
        sets = yolo.read_yolo(found.files["all"], outlines)
    elif found.format == "voc":
        sets = voc.read_voc(found.files["all"])
    elif found.format == "mot":
        folders = {s: mot.sequences_in(place) for s, place in found.files.items()}
        sets = {split: mot.read_mot(paths) for split, paths in folders.items()}
    else:
        reader = coco.read_coco if found.format == "coco" else cvat.read_cvat
        sets = {split: reader(file, root, outlines) for split, file in found.files.items()}
    return Splits(found.why, sets)


# ------------------------------------------------------------------- what is where


def _coco(root: Path) -> Found | None:
    files = [file for file in _files(root, ".json") if coco_file.is_coco(_json(file))]
    return _by_split("coco", files, "has images, annotations and categories")


def _cvat(root: Path) -> Found | None:
    files = [file for file in _files(root, ".xml") if _begins_as_cvat(file)]
    return _by_split("cvat", files, "is CVAT's XML")


def _yolo(root: Path) -> Found | None:
    for file in sorted(root.glob("*.y*ml")):
        content = yolo.read_settings(file)
        if "names" in content and "train" in content:
            return Found("yolo", {"all": file}, f"{file} names classes and images")
    return None


def _mot(root: Path) -> Found | None:
    sequences = mot.sequences_in(root)
    if not sequences:
        return None
    why = f"{sequences[0] / 'gt' / 'gt.txt'} has the place and name of MOT's boxes"
    splits = {s: place for s in WORDS if (place := _folder(root, s)) is not None}
    with_sequences = {s: place for s, place in splits.items() if mot.sequences_in(place)}
    return Found("mot", with_sequences if "train" in with_sequences else {"all": root}, why)


def _voc(root: Path) -> Found | None:
    for place in (root, *sorted(root.glob("VOCdevkit/*"))):
        file = next((place / "Annotations").glob("**/*.xml"), None)
        if file is not None:
            return Found("voc", {"all": place}, f"{file} is an XML file in Annotations")
    return None


def _masks(root: Path) -> Found | None:
    layout = [s for s in WORDS if (root / s / "frames").is_dir() and (root / s / "masks").is_dir()]
    if "train" in layout:
        why = f"{root / 'train'} has frames and masks"
        return Found("masks", {split: root / split for split in layout}, why)
    if (root / "frames").is_dir() and (root / "masks").is_dir():
        return Found("masks", {"all": root}, f"{root} has frames and masks")
    return None


def _mask_folders(root: Path) -> Found | None:
    found = mask_folders.find_folders(root, WORDS)
    if not found:
        return None
    first = next(iter(found.values()))
    why = f"{first.masks} has masks of the images in {first.images}"
    return Found("mask_folders", {s: f.masks for s, f in found.items()}, why, found)


_LOOKS: dict[Format, Callable[[Path], Found | None]] = {
    "coco": _coco,
    "cvat": _cvat,
    "yolo": _yolo,
    "mot": _mot,
    "voc": _voc,
    "masks": _masks,
    "mask_folders": _mask_folders,
}


def _by_split(name: Format, files: list[Path], what: str) -> Found | None:
    """Files by the words in their names, or in those of their folders; one alone is all."""
    if not files:
        return None
    of_split: dict[str, Path] = {}
    for split, words in WORDS.items():
        own = [f for f in files if any(word in _words(f) for word in words)]
        if own:
            of_split[split] = own[0]
            if len(own) > 1:
                raise SampleError(
                    f"{len(own)} files could be the labels of the split {split}, such as {own[0]} "
                    f"and {own[1]}: leave one, or name it with --data Coco --data.{split} FILE"
                )
    if "train" in of_split:
        return Found(name, of_split, f"{of_split['train']} {what}")
    if len(files) > 1:
        raise SampleError(
            f"{files[0].parent} has {len(files)} label files, {files[0].name} and {files[1].name} "
            'among them, and none is called "train": name them train and val, or leave one'
        )
    return Found(name, {"all": files[0]}, f"{files[0]} {what}")


def _words(file: Path) -> set[str]:
    stem = file.stem.lower().replace("-", "_").replace(".", "_")
    return {*stem.split("_"), *(w.rstrip("0123456789") for w in stem.split("_"))} | {
        file.parent.name.lower()
    }


def _files(root: Path, suffix: str) -> list[Path]:
    """Files of a suffix in a root and in the folders in it, in order."""
    found = [*root.glob(f"*{suffix}"), *root.glob(f"*/*{suffix}")]
    return sorted(file for file in found if not file.name.startswith("."))


def _folder(root: Path, split: str) -> Path | None:
    return next((root / word for word in WORDS[split] if (root / word).is_dir()), None)


def _json(file: Path) -> dict[str, Any]:
    try:
        return coco_file.read_content(file)
    except SampleError:
        with open(file, "rb") as opened:
            if b'"annotations"' in opened.read(1 << 16):
                raise  # a damaged one is told
        return {}


def _damaged_json(root: Path) -> str | None:
    """What is wrong with the first .json that cannot be read; None where all can."""
    for file in _files(root, ".json"):
        try:
            coco_file.read_content(file)
        except SampleError as error:
            return str(error)
    return None


def _begins_as_cvat(file: Path) -> bool:
    with open(file, "rb") as opened:
        start = opened.read(1 << 14)
    return b"<annotations" in start and b"<meta" in start
