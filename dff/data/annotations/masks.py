"""What the values of mask files mean: numbers of classes, 0 and 255, or colours."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from dff.data.files.images import read_image, read_labels, values_in
from dff.data.files.orientation import JPEG
from dff.data.samples import IGNORED, SampleError

MaskKind = Literal["numbers", "binary", "colours"]
"""Numbers of classes from 0; 0 and 255 for the two classes there are; colours of `classes.txt`."""
IGNORED_NAME = "ignored"
"""Name of the colour, in `classes.txt`, of pixels that do not count."""
LOOKED_AT = 200
"""Masks that are looked at to tell their kind."""


@dataclass(frozen=True)
class BinaryMasks:
    """Reads masks of two classes: path -> (H, W) uint8, 1 where the file holds 255."""

    def __call__(self, path: str | os.PathLike) -> np.ndarray:
        """Reads one.

        Raises:
            FileNotFoundError: There is no such file.
            SampleError: The file is damaged, or holds other values than 0 and 255.
        """
        mask = read_labels(path)
        wrong = [value for value in values_in(mask) if value not in (0, 255)]
        if wrong:
            raise SampleError(
                f"{path} holds the value {wrong[0]}: masks of two classes hold 0 and 255; set "
                "--data.masks numbers where values are numbers of classes"
            )
        return (mask == 255).astype(np.uint8)


@dataclass(frozen=True)
class ColourMasks:
    """Reads masks in colours: path -> (H, W) uint8 labels, 255 where a pixel is ignored.

    Args:
        colours: (K, 3) uint8 r, g, b.
        labels: (K,) uint8 label of each of them.
    """

    colours: np.ndarray
    labels: np.ndarray

    def __call__(self, path: str | os.PathLike) -> np.ndarray:
        """Reads one.

        Raises:
            FileNotFoundError: There is no such file.
            SampleError: The file is damaged, a JPEG, or holds a colour of no class.
        """
        with open(path, "rb") as file:
            if file.read(len(JPEG)) == JPEG:
                raise SampleError(
                    f"{path} is a JPEG, which blurs colours: save coloured masks as PNG"
                )
        codes = _codes(read_image(path))
        known = _codes(self.colours)
        order = np.argsort(known)
        position = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
        chosen = order[position]
        unknown = known[chosen] != codes
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            code = int(codes[row, column])
            colour = f"{code >> 16} {code >> 8 & 255} {code & 255}"
            count = int((codes == code).sum())
            raise SampleError(
                f"{path} has the colour {colour} in {count} pixels, the first at x {column}, "
                f"y {row}, and classes.txt has no such colour: add it to its class there, or as "
                f'"{IGNORED_NAME} {colour}" where these pixels are not to count'
            )
        return self.labels[chosen]


def _codes(colours: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    return (red << 16) | (green << 8) | blue


def colour_masks(names: Sequence[str], palette: np.ndarray) -> ColourMasks:
    """A reader of masks in the colours of classes.

    Args:
        names: Of the classes, `IGNORED_NAME` among them where a colour is ignored.
        palette: (K, 3) uint8, their colours.

    Raises:
        SampleError: Two classes have one colour.
    """
    codes = _codes(palette)
    for position, code in enumerate(codes.tolist()):
        if code in codes[:position]:
            other = names[int(np.flatnonzero(codes == code)[0])]
            raise SampleError(
                f"classes.txt gives {other} and {names[position]} one colour: masks in colours "
                "cannot tell them apart, give each its own"
            )
    real = iter(range(len(names)))
    labels = [IGNORED if name == IGNORED_NAME else next(real) for name in names]
    return ColourMasks(palette.astype(np.uint8), np.array(labels, np.uint8))


def tell_kind(files: Sequence[str], classes: int, by_colours: bool = False) -> tuple[MaskKind, str]:
    """What the values of masks mean, by looking at some of them.

    Args:
        files: The masks.
        classes: How many classes there are.
        by_colours: Whether the classes were listed by their colours, so that those of a palette
            count and not its numbers.

    Returns:
        The kind, and why.
    """
    step = max(1, len(files) // LOOKED_AT)
    values: set[int] = set()
    for file in files[::step]:
        try:
            with Image.open(file) as image:
                mode = image.mode
            if mode not in ("L", "P", "1", "I", "I;16", "LA"):
                return "colours", f"{file} has three channels"
            if mode == "P" and by_colours:
                return "colours", f"{file} has a palette, and the classes are listed by colours"
            values |= set(values_in(read_labels(file)).tolist())
        except (OSError, SampleError, SyntaxError, ValueError):
            continue  # a damaged mask is told where it is read
    if values and values <= {0, 255} and 255 in values and classes == 2:
        return "binary", "they hold 0 and 255 alone, and there are two classes"
    if values and max(values - {255}, default=0) >= classes:
        told = f"they hold {max(values - {255})}, and there are {classes} classes"
        return "numbers", told
    return "numbers", "they have one channel"


def classes_of_palettes(files: Sequence[str]) -> tuple[tuple[str, ...], list[list[int]]]:
    """Names and colours of the classes of palette masks for which there is no `classes.txt`.

    Args:
        files: The masks.

    Raises:
        SampleError: They have no palette, which alone would tell their classes.
    """
    highest, palette = -1, None
    step = max(1, len(files) // LOOKED_AT)
    for file in files[::step]:
        try:
            with Image.open(file) as image:
                palette = palette or (image.getpalette() if image.mode == "P" else None)
            found = values_in(read_labels(file))
        except (OSError, SampleError, SyntaxError, ValueError):
            continue
        highest = max(highest, int(max(found[found != IGNORED], default=-1)))
    if palette is None or highest < 0:
        root = Path(files[0]).parent if files else "the masks"
        raise SampleError(
            f"nothing tells the classes of {root}: write classes.txt, one class a line in the "
            "order of their numbers, with their colours (name r g b) where masks are coloured"
        )
    colours = np.reshape(palette, (-1, 3))[: highest + 1].tolist()
    return tuple(f"class {n}" for n in range(highest + 1)), colours
