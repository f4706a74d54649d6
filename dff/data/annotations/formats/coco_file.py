"""A file of COCO's JSON, parsed and checked: what of it is used, and what is not."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dff.data.annotations.findings import Findings
from dff.data.annotations.formats import youtube_vis
from dff.data.samples import SampleError

CURE = "export the labels again as COCO JSON"
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class CocoFile:
    """What a file holds that is used.

    Attributes:
        path: Of the file.
        classes: Names of the categories that are used, or that are listed and have no others below
            them, in the order of the file.
        names: Category id -> name.
        images: As they are there, in the order of the file.
        annotations: Image id -> its annotations; only those with a box or an outline.
        videos: Video id -> its entry, where the file has CocoVID's fields.
        findings: What is wrong with it.
    """

    path: Path
    classes: tuple[str, ...]
    names: Mapping[Any, str]
    images: Sequence[Entry]
    annotations: Mapping[Any, Sequence[Entry]]
    videos: Mapping[Any, Entry]
    findings: Findings


def read_content(path: str | os.PathLike) -> dict[str, Any]:
    """The JSON of a file.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: It is no JSON, or no object of names.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no COCO file at {path}: check the path")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SampleError(f"{path} is no JSON ({error}): {CURE}") from error
    return content if isinstance(content, dict) else {}


def is_coco(content: Mapping[str, Any]) -> bool:
    """Whether a JSON has the lists that COCO's files have, or those of YouTube-VIS."""
    return all(isinstance(content.get(n), list) for n in ("categories", "annotations")) and any(
        isinstance(content.get(name), list) for name in ("images", "videos")
    )


def parse(path: Path, content: Mapping[str, Any]) -> CocoFile:
    """Checks the content of a file, and keeps what is used of it.

    Raises:
        SampleError: Entries lack what all must have.
    """
    if youtube_vis.is_youtube_vis(content):
        content = youtube_vis.as_coco(path, content)
    findings = Findings()
    images, annotations, categories = (
        _entries(path, content, name) for name in ("images", "annotations", "categories")
    )
    videos = _entries(path, content, "videos") if "videos" in content else []
    used = [a for a in annotations if a.get("bbox") or a.get("segmentation")]
    try:
        names = {c["id"]: str(c["name"]) for c in categories}
        counted = Counter(a["category_id"] for a in used)
        of_image: dict[Any, list[Entry]] = {image["id"]: [] for image in images}
        files = [str(image["file_name"]) for image in images]
        of_video = {video["id"]: video for video in videos}
        for annotation in used:
            if annotation["category_id"] not in names:
                findings.add(
                    "annotations have a category that the file does not list",
                    f"category {annotation['category_id']} of image {annotation['image_id']}",
                    f"add it to the categories of {path.name}, or {CURE}",
                    stops=True,
                )
            elif annotation["image_id"] not in of_image:
                findings.add(
                    "annotations belong to images that the file does not list",
                    f"image {annotation['image_id']}",
                    f"{CURE}, or remove them",
                    stops=True,
                )
            else:
                of_image[annotation["image_id"]].append(annotation)
    except (KeyError, TypeError) as error:
        raise SampleError(
            f"{path} has an entry without {error}: wanted id and name of categories, id and "
            f"file_name of images, image_id, category_id and bbox of annotations; {CURE}"
        ) from error
    for name, count in Counter(files).items():
        if count > 1:
            findings.add(
                "images are listed more than once",
                name,
                f"{CURE}, each image once",
                stops=True,
                count=count - 1,
            )
    classes = _classes(path, names, categories, counted, findings)
    return CocoFile(path, classes, names, images, of_image, of_video, findings)


def _classes(
    path: Path,
    names: Mapping[Any, str],
    categories: Sequence[Entry],
    counted: Counter[Any],
    findings: Findings,
) -> tuple[str, ...]:
    """Names of the real categories; exports carry a parent that no annotation has."""
    parents = {str(category.get("supercategory")) for category in categories}
    real = [i for i in names if counted[i] or names[i] not in parents]
    if dropped := [names[i] for i in names if i not in real]:
        findings.note(
            f"the categories {', '.join(dropped)} of {path.name} only have others below them and "
            "are left out"
        )
    classes = tuple(dict.fromkeys(names[i] for i in real))
    if not classes:
        raise SampleError(f"{path} has no category: {CURE}")
    return classes


def _entries(path: Path, content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    entries = content.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SampleError(f"{path} has no list of {name}, as COCO's files have: {CURE}")
    return entries
