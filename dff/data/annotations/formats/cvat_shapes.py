"""Shapes of CVAT's XML, and those of a track between its key frames."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from dff.data.annotations.drawn_masks import Outline, Polygons, checked_polygon, checked_runs
from dff.data.samples import SampleError

CURE = "export the task again as CVAT for video 1.1"
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shape:
    """One object in one frame.

    Args:
        label: Class from 0.
        corners: Of its box: x1, y1, x2, y2, where x2 and y2 belong to it.
        outline: Polygon or mask, where it is one.
        track: Number of the object, -1 if unknown.
        order: Those of a higher order lie above.
    """

    label: int
    corners: Corners
    outline: Outline | None
    track: int
    order: int


def shape_of(
    path: str | os.PathLike, element: ElementTree.Element, label: int, track: int
) -> Shape | None:
    """The shape of an element; None where it is neither box, polygon nor mask.

    Args:
        path: Of the file, for messages.
        element: A `<box>`, `<polygon>` or `<mask>`.
        label: Its class.
        track: Its object.

    Raises:
        SampleError: What describes it cannot be used.
    """
    order = whole_number(path, element, "z_order", 0)
    if element.tag == "box":
        x1, y1, x2, y2 = (_number(path, element, name) for name in ("xtl", "ytl", "xbr", "ybr"))
        if _number(path, element, "rotation", 0.0):
            x1, y1, x2, y2 = _around_turned(x1, y1, x2, y2, float(element.get("rotation", 0)))
        return Shape(label, (x1, y1, x2 - 1, y2 - 1), None, track, order)
    try:
        if element.tag == "polygon":
            points = [float(v) for p in element.get("points", "").split(";") for v in p.split(",")]
            outline: Outline = Polygons((checked_polygon(points),))
        elif element.tag == "mask":
            runs = [int(run) for run in element.get("rle", "").split(",")]
            top, left, height, width = (
                whole_number(path, element, name) for name in ("top", "left", "height", "width")
            )
            outline = checked_runs(runs, (height, width), (top, left), by_columns=False)
        else:
            return None
    except ValueError as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"{path} has a <{element.tag}> that is none ({error}): {CURE}") from error
    corners = outline.box()
    return None if corners is None else Shape(label, corners, outline, track, order)


def shapes_of_track(
    listed: Sequence[tuple[int, ElementTree.Element, Shape]],
) -> list[tuple[int, Shape]]:
    """The shapes of a track in every frame in which its object is there.

    Boxes between two key frames are interpolated anew, because exports repeat the last key frame
    where the object leaves; all but boxes stay as they are until the next. Behind its last frame in
    the file an object is not known.

    Args:
        listed: Frame, element and shape of each entry, in any order.
    """
    entries = sorted(listed, key=lambda entry: entry[0])
    keys = [entry for entry in entries if entry[1].get("keyframe", "1") != "0"] or entries[:1]
    found = []
    for position, (frame, element, shape) in enumerate(keys):
        if element.get("outside", "0") == "1":
            continue
        following = keys[position + 1] if position + 1 < len(keys) else None
        end = following[0] if following else entries[-1][0] + 1
        if following is None and _leaves(entries, frame):
            end = _leaves(entries, frame) or end
        for at in range(frame, end):
            between = shape
            if following is not None and shape.outline is None and following[2].outline is None:
                share = (at - frame) / (following[0] - frame)
                between = replace(shape, corners=_between(shape, following[2], share))
            found.append((at, between))
    return found


def _leaves(entries: Sequence[tuple[int, ElementTree.Element, Shape]], after: int) -> int | None:
    """The first frame behind another one in which an object is outside."""
    outside = (f for f, element, _ in entries if f > after and element.get("outside", "0") == "1")
    return next(outside, None)


def _between(first: Shape, last: Shape, share: float) -> Corners:
    x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(first.corners, last.corners, strict=True))
    return x1, y1, x2, y2


def _around_turned(x1: float, y1: float, x2: float, y2: float, degrees: float) -> Corners:
    """The upright box around a turned one."""
    angle = math.radians(degrees)
    width, height = x2 - x1, y2 - y1
    half_width = (abs(width * math.cos(angle)) + abs(height * math.sin(angle))) / 2
    half_height = (abs(width * math.sin(angle)) + abs(height * math.cos(angle))) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def _number(
    path: str | os.PathLike, element: ElementTree.Element, name: str, default: float | None = None
) -> float:
    text = element.get(name)
    if text is None and default is not None:
        return default
    try:
        number = float(str(text))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SampleError(f"{path} has {name}={text!r} in a <{element.tag}>: {CURE}")
    return number


def whole_number(
    path: str | os.PathLike, element: ElementTree.Element, name: str, default: int | None = None
) -> int:
    """An attribute of an element.

    Raises:
        SampleError: It is no whole number, or lacks.
    """
    number = _number(path, element, name, None if default is None else float(default))
    if number != int(number):
        raise SampleError(f"{path} has {name}={number:g} in a <{element.tag}>: {CURE}")
    return int(number)
