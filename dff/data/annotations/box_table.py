"""Boxes of a video in flat arrays, and how they are gathered from an annotation file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dff.data.annotations.findings import Findings
from dff.data.samples import Boxes, class_of_crowd, crowd_of_class

ROUNDING = 1.0
"""Pixels over the border of an image that are no mistake of the annotation."""


@dataclass(frozen=True)
class BoxTable:
    """The boxes of one snippet, in arrays that processes share.

    Args:
        frames: (N,) int64, number of the frame of each box, increasing.
        corners: (N, 4) float32, inclusive; see `Boxes`.
        labels: (N,) int64, classes from 0, or crowds; see `Boxes`.
        tracks: (N,) int64, one number for each object, -1 where it is not told.
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

    def classes(self) -> np.ndarray:
        """The class of each box, (N,); of a crowd that of what it consists of."""
        return class_of_crowd(self.labels)

    def relabelled(self, table: np.ndarray) -> "BoxTable":
        """The same boxes with other labels.

        Args:
            table: (K,) new label of each class.
        """
        labels = table[self.classes()]
        crowds = self.labels < 0
        return replace(self, labels=np.where(crowds, crowd_of_class(labels), labels))


class BoxRows:
    """Gathers the boxes of one snippet.

    Args:
        findings: Where boxes that are clipped or left out are counted.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._rows: list[tuple[float, ...]] = []
        self._sizes: dict[int, tuple[int, int]] = {}

    def size(self, frame: int, height: int, width: int) -> None:
        """Tells the size of a frame, before its boxes."""
        self._sizes[frame] = height, width

    def add(
        self,
        frame: int,
        corners: tuple[float, float, float, float],
        label: int,
        track: int = -1,
        crowd: bool = False,
        where: str = "",
    ) -> None:
        """Adds a box, clipped to its frame; one without area there is left out, and counted.

        Args:
            frame: Its number.
            corners: x1, y1, x2, y2 in pixels, where x2 and y2 belong to the box.
            label: Class from 0.
            track: Number of the object; -1 if unknown.
            crowd: Whether it is a region of many objects.
            where: What a message calls its place.
        """
        height, width = self._sizes.get(frame, (np.inf, np.inf))
        x1, y1, x2, y2 = corners
        shown = f"{where}: x {x1:g} to {x2:g}, y {y1:g} to {y2:g}"
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width - 1), min(y2, height - 1)
        # a box of less than a pixel has x2 just below x1, and is one nevertheless
        if not (x2 > x1 - 1 and y2 > y1 - 1):
            self._findings.add(
                "boxes have no width or height and are left out",
                shown,
                "remove them in the labelling tool",
            )
            return
        if right - left <= -1 or bottom - top <= -1:
            self._findings.add(
                "boxes lie outside of their image and are left out",
                f"{shown} in an image of {width:g}x{height:g}",
                "check that boxes and images belong together",
            )
            return
        if max(left - x1, top - y1, x2 - right, y2 - bottom) > ROUNDING:
            self._findings.add(
                "boxes reach beyond their image and are clipped",
                f"{shown} in an image of {width:g}x{height:g}",
                "nothing has to be done if objects leave the image there",
            )
        coded = int(crowd_of_class(np.array(label))) if crowd else label
        self._rows.append((frame, left, top, right, bottom, coded, track))

    def table(self) -> BoxTable:
        """The boxes, by their frames."""
        table = np.array(self._rows, float).reshape(-1, 7)
        table = table[np.argsort(table[:, 0], kind="stable")]
        return BoxTable(
            table[:, 0].astype(np.int64),
            table[:, 1:5].astype(np.float32),
            table[:, 5].astype(np.int64),
            table[:, 6].astype(np.int64),
            self._sizes,
        )
