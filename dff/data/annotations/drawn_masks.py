"""Masks that are drawn from outlines: polygons and run lengths, as annotation files hold them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dff.data.samples import IGNORED

BACKGROUND = "background"
"""Name of class 0 of masks that are drawn: pixels of no object."""


@dataclass(frozen=True)
class Polygons:
    """An object by the outlines of its parts, each (n, 2) float x, y in pixels of the image.

    The border of an image is at 0 and at its width; a pixel belongs to a polygon that holds its
    centre.
    """

    outlines: tuple[np.ndarray, ...]

    def fill(self, mask: np.ndarray, label: int) -> None:
        """Writes a label into the pixels of the object; mask is (H, W) uint8."""
        for outline in self.outlines:
            _fill_polygon(mask, outline, label)

    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of all parts, inclusive."""
        points = np.concatenate(self.outlines)
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        return float(x1), float(y1), float(x2) - 1, float(y2) - 1


@dataclass(frozen=True)
class Runs:
    """An object by run lengths of a rectangle of pixels, which begin with those that are not it.

    Args:
        counts: Lengths of the runs; they add up to the pixels of the rectangle.
        size: Height and width of the rectangle.
        corner: Its top and left pixel in the image.
        by_columns: Whether runs go down the columns, as in COCO, or along the rows, as in CVAT.
    """

    counts: np.ndarray
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    by_columns: bool = True

    def fill(self, mask: np.ndarray, label: int) -> None:
        """Writes a label into the pixels of the object; mask is (H, W) uint8."""
        top, left = self.corner
        inside = self.pixels()[max(0, -top) :, max(0, -left) :]
        part = mask[max(0, top) : max(0, top + self.size[0]), max(0, left) :]
        height, width = min(inside.shape[0], part.shape[0]), min(inside.shape[1], part.shape[1])
        part[:height, :width][inside[:height, :width]] = label

    def pixels(self) -> np.ndarray:
        """The rectangle, (h, w) bool."""
        values = np.arange(len(self.counts)) % 2 == 1
        flat = np.repeat(values, self.counts)
        return flat.reshape(self.size, order="F" if self.by_columns else "C")

    def box(self) -> tuple[float, float, float, float] | None:
        """x1, y1, x2, y2 of the pixels, inclusive; None where there is none."""
        rows, columns = np.nonzero(self.pixels())
        if not len(rows):
            return None
        top, left = self.corner
        return (
            float(columns.min() + left),
            float(rows.min() + top),
            float(columns.max() + left),
            float(rows.max() + top),
        )


Outline = Polygons | Runs


def runs_of_text(text: str | bytes, size: tuple[int, int]) -> Runs:
    """Run lengths in COCO's compressed text.

    Each number is in groups of five bits, the lowest first, with a bit that says that more follow;
    from the third on it is the difference from the run before the last.

    Args:
        text: As an annotation file has it.
        size: Height and width of the image.

    Raises:
        ValueError: It is no such text, or does not fit the size.
    """
    data = text.encode("ascii") if isinstance(text, str) else text
    counts: list[int] = []
    value = shift = 0
    for byte in data:
        group = byte - 48
        if not 0 <= group < 64:
            raise ValueError(f"the character {chr(byte)!r} is none of compressed run lengths")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end within a number")
    return checked_runs(counts, size)


def checked_runs(
    counts: Sequence[float],
    size: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
    by_columns: bool = True,
) -> Runs:
    """Run lengths that fit their rectangle; arguments as those of `Runs`.

    Raises:
        ValueError: They do not.
    """
    found = np.asarray(counts, np.int64)
    if found.ndim != 1 or (found < 0).any() or found.sum() != size[0] * size[1]:
        raise ValueError(
            f"run lengths that add up to {int(found.sum())} pixels, for {size[0]}x{size[1]}"
        )
    return Runs(found, size, corner, by_columns)


def checked_polygon(points: Sequence[float]) -> np.ndarray:
    """Points x, y, x, y ... of an outline -> (n, 2) float64.

    Raises:
        ValueError: They are fewer than three points, or no numbers.
    """
    values = np.asarray(points, np.float64)
    if values.ndim != 1 or len(values) < 6 or len(values) % 2 or not np.isfinite(values).all():
        raise ValueError("an outline wants three points or more, as x, y, x, y ...")
    return values.reshape(-1, 2)


@dataclass(frozen=True)
class DrawnObject:
    """An object of a frame as its mask is drawn: its label, `IGNORED` for a crowd, and outline."""

    label: int
    outline: Outline


@dataclass(frozen=True)
class DrawnMasks:
    """Draws the mask of a frame from its objects; serves as a `ReadMask`.

    Args:
        objects: Name of the mask -> the objects of its frame, later ones above earlier ones.
        sizes: Name of the mask -> height and width.
        background: Label of the pixels of no object.
    """

    objects: Mapping[str, Sequence[DrawnObject]]
    sizes: Mapping[str, tuple[int, int]]
    background: int = 0

    def joined(self, other: "DrawnMasks") -> "DrawnMasks":
        """The masks of two splits, which have names of their own."""
        return replace(
            self, objects={**self.objects, **other.objects}, sizes={**self.sizes, **other.sizes}
        )

    def relabelled(self, table: np.ndarray) -> "DrawnMasks":
        """The same objects with other labels, table (K,); ignored ones stay so."""
        objects = {
            name: [
                o if o.label == IGNORED else replace(o, label=int(table[o.label])) for o in drawn
            ]
            for name, drawn in self.objects.items()
        }
        return replace(self, objects=objects)

    def __call__(self, name: str) -> np.ndarray:
        """Draws one, (H, W) uint8."""
        mask = np.full(self.sizes[name], self.background, np.uint8)
        for drawn in self.objects[name]:
            drawn.outline.fill(mask, drawn.label)
        return mask


def _fill_polygon(mask: np.ndarray, outline: np.ndarray, label: int) -> None:
    """Fills the pixels whose centres lie inside, by the even-odd rule, row by row."""
    height, width = mask.shape
    start, end = outline, np.roll(outline, -1, axis=0)
    first = max(0, int(np.ceil(outline[:, 1].min() - 0.5)))
    last = min(height - 1, int(np.floor(outline[:, 1].max() - 0.5)))
    (x1, y1), (x2, y2) = start.T, end.T
    rise = y2 - y1
    for row in range(first, last + 1):
        y = row + 0.5
        crossed = (y1 <= y) != (y2 <= y)
        x = np.sort((x1 + (y - y1) * (x2 - x1) / np.where(crossed, rise, 1.0))[crossed])
        for left, right in zip(x[::2], x[1::2], strict=True):
            begin, stop = int(np.ceil(left - 0.5)), int(np.ceil(right - 0.5))
            mask[row, max(0, begin) : max(0, min(width, stop))] = label
