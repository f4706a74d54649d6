"""Draws ImageNet VID and DET in their layout, for tests: boxes that are where the pixels say.

And the authors' files with the boxes of the whole validation set.
"""

import numpy as np
import scipy.io  # albumentations depends on it

from dff.data.datasets.imagenet_vid.annotations import WORDNET_IDS

SIZE = (80, 112)


def box_of(number, track):
    """x1, y1, x2, y2 of a drawn object; it moves 2 pixels to the right in each frame."""
    left = 5 + 40 * track + 2 * number
    return left, 10 + 5 * track, left + 20, 40 + 5 * track


def annotation(objects, size=SIZE, tracked=True):
    """Text of an annotation file; objects are (class, track, corners), class a number or text."""
    parts = []
    for label, track, (x1, y1, x2, y2) in objects:
        name = WORDNET_IDS[label] if isinstance(label, int) else label
        trackid = f"<trackid>{track}</trackid>" if tracked else ""
        parts.append(
            f"<object>{trackid}<name>{name}</name><bndbox><xmax>{x2}</xmax><xmin>{x1}</xmin>"
            f"<ymax>{y2}</ymax><ymin>{y1}</ymin></bndbox><occluded>0</occluded></object>"
        )
    height, width = size
    return (
        "<annotation><folder>f</folder><filename>n</filename><source><database>d</database>"
        f"</source><size><width>{width}</width><height>{height}</height></size>"
        f"{''.join(parts)}</annotation>"
    )


def write_frame(root, name, objects, size=SIZE, tracked=True):
    """Writes one image and its annotation; returns both files."""
    import cv2

    data, xml = root / "Data" / f"{name}.JPEG", root / "Annotations" / f"{name}.xml"
    picture = np.full((*size, 3), 100, np.uint8)
    for label, _, (x1, y1, x2, y2) in objects:
        if isinstance(label, int):
            picture[y1 : y2 + 1, x1 : x2 + 1] = 105 + 5 * label
    for path in (data, xml):
        path.parent.mkdir(parents=True, exist_ok=True)
    data.write_bytes(cv2.imencode(".jpeg", picture)[1].tobytes())
    xml.write_text(annotation(objects, size, tracked))
    return data, xml


def write_video(root, name, frames=12, labels=(0, 6)):
    """Writes a video in which object t has class labels[t]; none is in frame 3."""
    for number in range(frames):
        objects = [(label, t, box_of(number, t)) for t, label in enumerate(labels)]
        write_frame(root, f"VID/{name}/{number:06d}", objects if number != 3 else [])


def write_vid(root):
    """Writes two training videos, one held-out video, and four images of DET."""
    write_video(root, "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000")
    write_video(root, "train/ILSVRC2015_VID_train_0001/ILSVRC2015_train_00001000", 10, (29,))
    write_video(root, "val/ILSVRC2015_val_00000000", 12, (3, 4))
    for number in range(4):
        folder = ("ILSVRC2013_train/n02691156", "ILSVRC2014_train_0000")[number % 2]
        name = f"DET/train/{folder}/image_{number}"
        objects = [(7, 0, box_of(0, 0)), ("n00007846", 0, (1, 1, 9, 9))][number == 3 :]
        write_frame(root, name, objects, (72 + 8 * number, 96), tracked=False)
    return root


def cells(rows, shape):
    out = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        out[i] = np.array(row)
    return out.reshape(shape)


def write_boxes(path, labels, boxes):
    """The authors' layout: a cell for each frame, boxes as columns, an empty cell of (1, 0)."""
    content = {
        "gt_img_ids": np.arange(1, len(labels) + 1, dtype=np.int32)[:, None],
        "gt_obj_labels": cells([np.uint8(x).reshape(1, -1) for x in labels], (1, -1)),
        "gt_obj_bboxes": cells([np.uint16(x).T if x else np.zeros((1, 0)) for x in boxes], (1, -1)),
    }
    scipy.io.savemat(path, content)
    return path


def write_motion(path, motion):
    columns = [np.float64(x).reshape(-1, 1) for x in motion]
    scipy.io.savemat(path, {"motion_iou": cells(columns, (-1, 1))})
    return path
