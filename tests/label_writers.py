"""Labels of videos written as labelling tools write them, for tests of their readers."""

import json
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np


class Labelled(NamedTuple):
    """A video with all of its frames labelled.

    `frames`: image files below the root, in order. `boxes`: of each frame rows of class, x1, y1,
    x2, y2 (inclusive), track. `size`: height and width. `masks`: of each frame (H, W) uint8, or
    None.
    """

    name: str
    frames: list
    boxes: list
    size: tuple
    masks: list | None = None


def write_coco(root: Path, videos, classes, name="train.json", cocovid=True, encode=None):
    """CocoVID's fields; with `encode`, the mask of each class as run lengths beside the boxes."""
    images, annotations = [], []
    for v, video in enumerate(videos):
        for f, frame in enumerate(video.frames):
            image = {"id": len(images) + 1, "file_name": str(frame)}
            image |= {"height": video.size[0], "width": video.size[1]}
            if cocovid:
                image |= {"video_id": v + 1, "frame_id": f}
            images.append(image)
            for label, x1, y1, x2, y2, track in video.boxes[f]:
                box = [x1, y1, x2 - x1 + 1, y2 - y1 + 1]
                entry = {"image_id": image["id"], "category_id": 10 * label + 5, "bbox": box}
                annotations.append(entry | {"instance_id": track})
            if encode is not None:
                for label in np.unique(video.masks[f]):
                    entry = {"image_id": image["id"], "category_id": 10 * int(label) + 5}
                    entry["segmentation"] = encode(video.masks[f] == label)
                    annotations.append(entry)
    for i, annotation in enumerate(annotations):
        annotation["id"] = i + 1
    categories = [{"id": 10 * i + 5, "name": name} for i, name in enumerate(classes)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    if cocovid:
        content["videos"] = [{"id": v + 1, "name": x.name} for v, x in enumerate(videos)]
    (root / name).write_text(json.dumps(content))


def write_youtube_vis(root: Path, videos, classes, name="train.json"):
    entries, annotations = [], []
    for v, video in enumerate(videos):
        entry = {"id": v + 1, "file_names": [str(f) for f in video.frames]}
        entries.append(entry | {"height": video.size[0], "width": video.size[1]})
        tracks: dict = {}
        for f, rows in enumerate(video.boxes):
            for label, x1, y1, x2, y2, track in rows:
                empty = (label, [None] * len(video.frames))
                tracks.setdefault(track, empty)[1][f] = [x1, y1, x2 - x1 + 1, y2 - y1 + 1]
        for track, (label, boxes) in tracks.items():
            annotation = {"id": track, "video_id": v + 1, "category_id": label + 1}
            annotations.append(annotation | {"bboxes": boxes})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(classes)]
    content = {"videos": entries, "annotations": annotations, "categories": categories}
    (root / name).write_text(json.dumps(content))


def write_cvat(path: Path, video: Labelled, classes, source="", start=0, step=1, every=1):
    """A task of a video; with `every`, only every n-th frame and the last are key frames."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "name").text = video.name
    ElementTree.SubElement(task, "size").text = str(len(video.boxes))
    ElementTree.SubElement(task, "start_frame").text = str(start)
    ElementTree.SubElement(task, "frame_filter").text = f"step={step}" if step > 1 else ""
    ElementTree.SubElement(task, "source").text = source
    labels = ElementTree.SubElement(task, "labels")
    for name in classes:
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    tracks: dict = {}
    for f, rows in enumerate(video.boxes):
        for label, *corners, track in rows:
            tracks.setdefault(track, (label, {}))[1][f] = corners
    for track, (label, of_frame) in tracks.items():
        element = ElementTree.SubElement(root, "track", id=str(track), label=classes[label])
        last = max(of_frame)
        for f, (x1, y1, x2, y2) in sorted(of_frame.items()):
            key = f % every == 0 or f == last or f - 1 not in of_frame or f + 1 not in of_frame
            _cvat_box(element, f, (x1, y1, x2 + 1, y2 + 1), key)
            if f + 1 not in of_frame and f + 1 < len(video.boxes):
                _cvat_box(element, f + 1, (x1, y1, x2 + 1, y2 + 1), True, outside=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _cvat_box(track, frame, corners, key, outside=False):
    names = ("xtl", "ytl", "xbr", "ybr")
    place = {name: repr(float(value)) for name, value in zip(names, corners, strict=True)}
    flags = {"frame": str(frame), "outside": str(int(outside)), "keyframe": str(int(key))}
    ElementTree.SubElement(track, "box", occluded="0", z_order="0", **flags, **place)


def write_yolo(root: Path, videos, classes):
    """Below images/train, where the frames of the videos must be."""
    names = "\n".join(f"  {i}: {name}" for i, name in enumerate(classes))
    (root / "data.yaml").write_text(f"path: .\ntrain: images/train\nnames:\n{names}\n")
    for video in videos:
        height, width = video.size
        for frame, rows in zip(video.frames, video.boxes, strict=True):
            text = root / "labels" / Path(*Path(frame).parts[1:]).with_suffix(".txt")
            text.parent.mkdir(parents=True, exist_ok=True)
            lines = []
            for label, x1, y1, x2, y2, _ in rows:
                w, h = x2 - x1 + 1, y2 - y1 + 1
                shares = ((x1 + w / 2) / width, (y1 + h / 2) / height, w / width, h / height)
                lines.append(f"{label} " + " ".join(f"{share:.12g}" for share in shares))
            text.write_text("\n".join(lines) + "\n" * bool(lines))


def write_mot(folder: Path, video: Labelled, classes):
    (folder / "gt").mkdir(parents=True)
    height, width = video.size
    ini = f"[Sequence]\nname={video.name}\nimDir=img1\nseqLength={len(video.frames)}\n"
    (folder / "seqinfo.ini").write_text(f"{ini}imWidth={width}\nimHeight={height}\n")
    (folder / "gt" / "labels.txt").write_text("\n".join(classes) + "\n")
    lines = []
    for f, rows in enumerate(video.boxes):
        for label, x1, y1, x2, y2, track in rows:
            row = (f + 1, track, x1 + 1, y1 + 1, x2 - x1 + 1, y2 - y1 + 1, 1, label + 1, 1)
            lines.append(",".join(f"{value:.12g}" for value in row))
    (folder / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")


def write_voc(root: Path, video: Labelled, classes):
    folder = root / "Annotations" / video.name
    folder.mkdir(parents=True)
    for frame, rows in zip(video.frames, video.boxes, strict=True):
        tree = ElementTree.Element("annotation")
        size = ElementTree.SubElement(tree, "size")
        for name, side in zip(("height", "width"), video.size, strict=True):
            ElementTree.SubElement(size, name).text = str(side)
        for label, *corners, track in rows:
            element = ElementTree.SubElement(tree, "object")
            ElementTree.SubElement(element, "name").text = classes[label]
            ElementTree.SubElement(element, "trackid").text = str(track)
            box = ElementTree.SubElement(element, "bndbox")
            for name, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
                ElementTree.SubElement(box, name).text = repr(float(value + 1))
        ElementTree.ElementTree(tree).write(folder / f"{Path(frame).stem}.xml")
