"""YouTube-VIS's layout of COCO's JSON: lists over the frames of a video become single entries.

{"videos": [{"id": 1, "file_names": ["a/00000.jpg", ...], "width": 640, "height": 360}, ...],
 "annotations": [{"video_id": 1, "category_id": 3, "bboxes": [[x, y, w, h], null, ...],
                  "segmentations": [{"counts": ..., "size": [h, w]}, null, ...]}, ...]}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dff.data.samples import SampleError

_CURE = "export the labels again as YouTube-VIS JSON"


def is_youtube_vis(content: Mapping[str, Any]) -> bool:
    """Whether the frames of videos are lists in it, instead of images of their own."""
    videos = content.get("videos")
    return isinstance(videos, list) and any(
        isinstance(video, dict) and "file_names" in video for video in videos
    )


def as_coco(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The same as images with `video_id` and `frame_id`, and annotations of images.

    Raises:
        SampleError: A list of an annotation has another length than its video.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    lengths: dict[Any, int] = {}
    try:
        for video in content["videos"]:
            lengths[video["id"]] = len(video["file_names"])
            sides = {name: video[name] for name in ("width", "height") if name in video}
            images += [
                {"id": (video["id"], i), "file_name": name, "video_id": video["id"], "frame_id": i}
                | sides
                for i, name in enumerate(video["file_names"])
            ]
        for track in content["annotations"]:
            annotations += _of_frames(path, track, lengths)
        categories = content["categories"]
    except (KeyError, TypeError) as error:
        raise SampleError(
            f"{path} has an entry without {error}: wanted id and file_names of videos, video_id, "
            f"category_id, and bboxes or segmentations of annotations; {_CURE}"
        ) from error
    return {"images": images, "annotations": annotations, "categories": categories}


def _of_frames(
    path: Path, track: Mapping[str, Any], lengths: Mapping[Any, int]
) -> list[dict[str, Any]]:
    """An annotation for each frame in which an object is there."""
    video, number = track["video_id"], lengths.get(track["video_id"])
    boxes, outlines = track.get("bboxes"), track.get("segmentations")
    for name, values in (("bboxes", boxes), ("segmentations", outlines)):
        if values is not None and number is not None and len(values) != number:
            raise SampleError(
                f"{path}: annotation {track.get('id')} has {len(values)} {name}, and its video "
                f"{video} {number} frames: {_CURE}"
            )
    found = []
    for i in range(len(boxes or outlines or ())):
        box = boxes[i] if boxes else None
        outline = outlines[i] if outlines else None
        if box or outline:
            found.append(
                {
                    "image_id": (video, i),
                    "category_id": track["category_id"],
                    "iscrowd": track.get("iscrowd", 0),
                    "instance_id": track.get("id", -1),
                    "bbox": box,
                    "segmentation": outline,
                }
            )
    return found
