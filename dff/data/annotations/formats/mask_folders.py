"""Masks in a folder beside that of their images, each called like its image.

    ROOT/JPEGImages, ROOT/SegmentationClass              Pascal VOC, and CVAT's "segmentation mask"
    ROOT/images/training, ROOT/annotations/training      ADE20K
    ROOT/img_dir/train, ROOT/ann_dir/train               MMSegmentation
    ROOT/train/images, ROOT/train/masks
    ROOT/train, ROOT/trainannot                          CamVid; `train_labels`, `train_masks` too

Either folder may hold further ones. A mask may have an ending of its own (`_mask`, `_L`). Where
`ImageSets/Segmentation` lists the images of a split, the lists hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dff.data.annotations import grouping
from dff.data.annotations.image_sets import listed_images
from dff.data.samples import Snippet, Snippets

_IMAGES = ("images", "JPEGImages", "img_dir", "image", "imgs", "frames")
_MASKS = ("masks", "SegmentationClass", "ann_dir", "annotations", "labels", "mask", "label")
_BEHIND = ("annot", "_annot", "_annotations", "_masks", "_mask", "_labels", "_label")
"""What follows the name of a folder of images in that of their masks."""
_ENDINGS = ("", "_mask", "_L", "_label", "_labels", "_gt", "_seg")
"""What follows the name of an image in that of its mask."""


class Folders(NamedTuple):
    """A folder of images, that of their masks, and the names of those that count; None for all."""

    images: Path
    masks: Path
    names: frozenset[str] | None = None


def find_folders(root: Path, words: Mapping[str, Sequence[str]]) -> dict[str, Folders]:
    """Finds images and masks below a root.

    Args:
        root: Folder of the data.
        words: Split -> what its folder may be called.

    Returns:
        "train" and perhaps "val", or "all" where no split is told; nothing where there is no image
        with a mask.

    Raises:
        SampleError: A list of names cannot be read.
    """
    found = {}
    for split, names in words.items():
        pairs = (pair for word in names for pair in _of_split(root, word))
        if pair := next(filter(_belong, pairs), None):
            found[split] = pair
    if "train" in found:
        return found
    for pair in filter(_belong, _inside(root)):
        lists = listed_images(root / "ImageSets" / "Segmentation")
        if not lists:
            return {"all": pair}
        return {split: pair._replace(names=frozenset(own)) for split, own in lists.items()}
    return {}


def find_masked_images(folders: Folders) -> Snippets:
    """The images of a folder as videos, by their names, with their masks; opens none of them."""
    images = _images(folders.images)
    masks = _by_image(folders.masks, images)
    if folders.names is not None:
        masks = {name: mask for name, mask in masks.items() if name in folders.names}
    paths = {str(path): name for name, path in images.items()}
    snippets = Snippets()
    for video, frames in grouping.grouped(paths, folders.images).items():
        labels = {n: str(masks[paths[path]]) for n, path in frames.items() if paths[path] in masks}
        if labels:
            snippets.append(Snippet(video, frames, list(labels), labels))
    if folders.names is None:
        snippets.labels_left_out = sum(1 for _ in _pngs(folders.masks)) - len(masks)
    return snippets


def _of_split(root: Path, word: str) -> Iterator[Folders]:
    yield from _inside(root / word)
    for images in _IMAGES:
        for masks in _MASKS:
            yield Folders(root / images / word, root / masks / word)
    for behind in _BEHIND:
        yield Folders(root / word, root / f"{word}{behind}")


def _inside(place: Path) -> Iterator[Folders]:
    for images in _IMAGES:
        for masks in _MASKS:
            yield Folders(place / images, place / masks)


def _belong(folders: Folders) -> bool:
    """Whether both folders are there, and a mask belongs to an image."""
    if not (folders.images.is_dir() and folders.masks.is_dir()):
        return False
    return bool(_by_image(folders.masks, _images(folders.images)))


def _images(folder: Path) -> dict[str, Path]:
    """Name below a folder, without suffix -> the image, in order of the names."""
    found = (
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in grouping.IMAGES and not path.name.startswith(".")
    )
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def _pngs(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.png")) if not path.name.startswith("."))


def _by_image(folder: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """Name of an image -> its mask."""
    found: dict[str, Path] = {}
    for path in _pngs(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        own = (name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending))
        image = next((stem for stem in own if stem in images), None)
        if image is not None:
            found.setdefault(image, path)
    return found
