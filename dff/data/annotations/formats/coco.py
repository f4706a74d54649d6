"""Boxes and outlines in COCO's JSON, as most tools export them: images, or the frames of videos.

    {"categories": [{"id": 3, "name": "car"}, ...],
     "images": [{"id": 7, "file_name": "drive/000012.jpg", "width": 640, "height": 480}, ...],
     "annotations": [{"image_id": 7, "category_id": 3, "bbox": [x, y, width, height]}, ...]}

Videos are told by CocoVID's fields (`video_id` and `frame_id` of an image, `instance_id` of a box),
or by YouTube-VIS's lists. Where both lack, the images of a folder whose names differ by a number
are the frames of one video, and images beside them that the file does not list are frames without
labels. A video may be a file: an entry of `videos` names it, and `frame_id` counts its frames, or
`time` tells their seconds.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dff.data.annotations import grouping
from dff.data.annotations.annotation_set import AnnotationSet
from dff.data.annotations.box_table import BoxRows
from dff.data.annotations.drawn_masks import (
    BACKGROUND,
    DrawnMasks,
    DrawnObject,
    Outline,
    Polygons,
    checked_polygon,
    checked_runs,
    runs_of_text,
)
from dff.data.annotations.formats.coco_file import CURE, CocoFile, Entry, parse, read_content
from dff.data.annotations.frames import MediaFolder, OpenedFrames, is_video, open_frames
from dff.data.samples import IGNORED, SampleError, Snippet

FORMAT = "COCO JSON"


def read_coco(
    path: str | os.PathLike, root: str | os.PathLike, with_masks: bool = False
) -> AnnotationSet:
    """Reads a file; every image that it lists is labelled, whether it shows anything or not.

    Args:
        path: The JSON file.
        root: The folder that its file names are in.
        with_masks: Whether masks are drawn of the outlines: class 0 is the background, an object
            of class k is k + 1, and smaller objects lie above larger ones.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: It is no such JSON.
    """
    path = Path(path)
    file = parse(path, read_content(path))
    reading = _Reading(file, MediaFolder(root))
    snippets = [reading.snippet(name, images) for name, images in _videos(file).items()]
    masks = DrawnMasks(reading.objects, reading.mask_sizes) if with_masks else None
    if with_masks and not any(reading.objects.values()):
        raise SampleError(
            f"{path} has no outlines (segmentation), so no masks can be drawn: train on its boxes "
            "alone, with --data.with_masks false"
        )
    if not with_masks and any(reading.objects.values()):
        file.findings.note(
            f"{path.name} has outlines too: --data.with_masks true learns a segmentation from them"
        )
        snippets = [_without_masks(snippet) for snippet in snippets]
    return AnnotationSet(
        FORMAT,
        [snippet for snippet in snippets if snippet.frames],
        file.classes,
        (BACKGROUND, *file.classes) if with_masks else (),
        read_mask=masks,
        findings=file.findings,
    )


def _without_masks(snippet: Snippet) -> Snippet:
    return Snippet(
        snippet.name, snippet.frames, snippet.labelled, boxes=snippet.boxes, video=snippet.video
    )


def file_name(image: Entry) -> str:
    """Of an image, as it is on this system: some tools write the backslashes of another one."""
    return str(image["file_name"]).replace("\\", "/")


def _videos(file: CocoFile) -> dict[str, dict[float, Entry]]:
    """Video -> number or seconds of the frame -> image; a single image is frame 0 of its own."""
    told = [image for image in file.images if "video_id" in image]
    names = _names_of_videos(file)
    videos: dict[str, dict[float, Entry]] = {}
    for image in told:
        number = image.get("frame_id", image.get("time"))
        if isinstance(number, bool) or not isinstance(number, int | float) or number < 0:
            raise SampleError(
                f"{file.path}: the image {file_name(image)} of a video has frame_id {number!r}: "
                f"wanted its number in the video, from 0; {CURE}"
            )
        name = names.get(image["video_id"], f"video_{image['video_id']}")
        frames = videos.setdefault(name, {})
        if number in frames:
            file.findings.add(
                "two images have one place in their video",
                f"{file_name(image)} and {file_name(frames[number])}, both frame {number}",
                CURE,
                stops=True,
            )
        frames[number] = image
    by_name = {file_name(image): image for image in file.images if "video_id" not in image}
    if by_name:
        groups = grouping.grouped(by_name)
        file.findings.note(f"{file.path.name} names no videos; {grouping.in_words(groups)}")
        for video, names in groups.items():
            videos[video] = {number: by_name[name] for number, name in names.items()}
    return videos


def _names_of_videos(file: CocoFile) -> dict[Any, str]:
    """Video id -> its name, where every video has one of its own."""
    names = {number: video.get("name") for number, video in file.videos.items()}
    told = [name for name in names.values() if isinstance(name, str) and name]
    return dict(zip(names, told, strict=True)) if len(set(told)) == len(names) else {}


class _Reading:
    """The snippets of a file, with what their masks are drawn from."""

    def __init__(self, file: CocoFile, media: MediaFolder) -> None:
        self.file, self.media = file, media
        self.labels = {i: file.classes.index(n) for i, n in file.names.items() if n in file.classes}
        self.objects: dict[str, list[DrawnObject]] = {}
        self.mask_sizes: dict[str, tuple[int, int]] = {}

    def snippet(self, name: str, listed: Mapping[float, Entry]) -> Snippet:
        """One video, without what is missing of it."""
        opened = self._video_file(listed)
        if opened is not None:
            images = self._numbered(opened, listed)
            frames: Mapping[int, str] = opened.frames
        else:
            images = {int(number): image for number, image in listed.items()}
            paths = {n: os.path.join(self.media.root, file_name(i)) for n, i in images.items()}
            there = {n: path for n, path in paths.items() if os.path.isfile(path)}
            for number in paths.keys() - there.keys():
                self.file.findings.add(
                    "images are listed and are not there",
                    paths[number],
                    "give the folder that the file names are in with --data.root, or copy them",
                    stops=True,
                )
            images = {number: images[number] for number in there}
            if there and not any("video_id" in image for image in images.values()):
                there |= grouping.beside(there[min(there)], there)
            frames = dict(sorted(there.items()))
        rows = BoxRows(self.file.findings)
        masks = {}
        for number, image in sorted(images.items()):
            token = f"{name} frame {number} ({self.file.path.name})"
            self._frame(rows, number, image, opened, token)
            if token in self.objects:
                masks[number] = token
        video = None if opened is None else opened.video
        return Snippet(name, frames, sorted(images), masks, boxes=rows.table(), video=video)

    def _video_file(self, images: Mapping[float, Entry]) -> OpenedFrames | None:
        """The video file of the images of one video, where its entry names one."""
        first = next(iter(images.values()))
        video = self.file.videos.get(first.get("video_id"))
        if video is None or os.path.isfile(os.path.join(self.media.root, file_name(first))):
            return None
        for field in ("file_name", "name", "video"):
            named = video.get(field)
            path = self.media.find(named) if isinstance(named, str) else None
            if path is not None and is_video(path):
                return open_frames(path)
        return None

    def _numbered(self, opened: OpenedFrames, images: Mapping[float, Entry]) -> dict[int, Entry]:
        """Images by the numbers of their frames in a video file."""
        numbers = {
            int(n) if "frame_id" in image else opened.number_at(n): image
            for n, image in images.items()
        }
        outside = [n for n in numbers if n not in opened.frames]
        if outside:
            self.file.findings.add(
                "frames are annotated that the video does not have",
                f"frame {max(outside)} of {opened.frames[0].partition(' of ')[2]}, which has "
                f"{len(opened.frames)}",
                "give the video that was annotated, or correct frame_id, which counts from 0",
                stops=True,
                count=len(outside),
            )
        return {n: image for n, image in numbers.items() if n in opened.frames}

    def _frame(
        self, rows: BoxRows, number: int, image: Entry, opened: OpenedFrames | None, token: str
    ) -> None:
        """The boxes and outlines of one frame."""
        width, height = image.get("width"), image.get("height")
        size = (height, width) if isinstance(width, int) and isinstance(height, int) else None
        if opened is not None:
            size = opened.size
        if size is not None:
            rows.size(number, *size)
        seen: set[tuple[Any, ...]] = set()
        drawn: list[tuple[float, DrawnObject]] = []
        for annotation in self.file.annotations[image["id"]]:
            label = self.labels[annotation["category_id"]]
            where = f"{annotation.get('category_id')} in {file_name(image)}"
            crowd = bool(annotation.get("iscrowd"))
            outline = self._outline(annotation, size)
            corners = self._corners(annotation, outline)
            if corners is None:
                continue
            if (label, *corners) in seen:
                self.file.findings.add(
                    "boxes are there twice and are taken once", where, "remove one of them"
                )
                continue
            seen.add((label, *corners))
            track = annotation.get("instance_id", annotation.get("track_id"))
            track = track if isinstance(track, int) else -1
            name = self.file.names[annotation["category_id"]]
            rows.add(number, corners, label, track, crowd, f"{name} in {file_name(image)}")
            if outline is not None:
                x1, y1, x2, y2 = corners
                area = annotation.get("area") or (x2 - x1 + 1) * (y2 - y1 + 1)
                drawn.append((area, DrawnObject(IGNORED if crowd else label + 1, outline)))
        if size is not None:
            # an image that shows nothing is all background
            self.objects[token] = [o for _, o in sorted(drawn, key=lambda pair: -pair[0])]
            self.mask_sizes[token] = size

    def _outline(self, annotation: Entry, size: tuple[int, int] | None) -> Outline | None:
        found = annotation.get("segmentation")
        try:
            if isinstance(found, dict):
                height, width = (int(side) for side in found["size"])
                if size is not None and (height, width) != size:
                    raise ValueError(f"run lengths of {height}x{width} in an image of {size}")
                counts = found["counts"]
                if isinstance(counts, str | bytes):
                    return runs_of_text(counts, (height, width))
                return checked_runs(counts, (height, width))
            if isinstance(found, list) and found:
                return Polygons(tuple(checked_polygon(points) for points in found))
        except (ValueError, TypeError, KeyError) as error:
            self.file.findings.add(
                "outlines cannot be read and are left out",
                f"image {annotation['image_id']}: {error}",
                CURE,
            )
        return None

    def _corners(
        self, annotation: Entry, outline: Outline | None
    ) -> tuple[float, float, float, float] | None:
        """Of the box; of the outline where there is none."""
        box = annotation.get("bbox")
        if not box:
            return None if outline is None else outline.box()
        try:
            x, y, width, height = (float(value) for value in box)
            finite = bool(np.isfinite([x, y, width, height]).all())
        except (TypeError, ValueError):
            finite = False
        if not finite:
            self.file.findings.add(
                "boxes are no four numbers x, y, width, height",
                f"{box!r} of image {annotation['image_id']!r}",
                CURE,
                stops=True,
            )
            return None
        return x, y, x + width - 1, y + height - 1
