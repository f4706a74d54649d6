"""CVAT's XML, version 1.1: of videos, with tracks, and of images.

    <annotations><meta>...<start_frame>, <frame_filter>, <size>, <source>...</meta>
      <track id="0" label="car"><box frame="0" xtl ytl xbr ybr outside="0" keyframe="1"/>...</track>
      <image id="0" name="a/1.jpg" width height><box label="car" xtl ytl xbr ybr/>...</image>

A frame is counted in its task, and where that takes every n-th frame from a first one on, its
number in the video is another; the export of a project counts on from task to task.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from dff.data.annotations import grouping
from dff.data.annotations.annotation_set import AnnotationSet
from dff.data.annotations.box_table import BoxRows
from dff.data.annotations.drawn_masks import BACKGROUND, DrawnMasks, DrawnObject
from dff.data.annotations.findings import Findings
from dff.data.annotations.formats.cvat_shapes import (
    CURE,
    Shape,
    shape_of,
    shapes_of_track,
    whole_number,
)
from dff.data.annotations.frames import MediaFolder, OpenedFrames, is_video, open_frames
from dff.data.files.images import image_size
from dff.data.files.xml_trees import parse_xml
from dff.data.samples import FramesByNumber, SampleError, Snippet

FORMAT = "CVAT XML"


@dataclass(frozen=True)
class CvatTask:
    """A task: one video, or one list of images.

    Attributes:
        number: Its id; "" where the file does not tell.
        name: Of the task.
        source: File name of the video; "" where the file does not tell.
        size: How many frames it has; None where the file does not tell.
        start: First frame of the video that it takes.
        step: It takes every step-th from there.
        first: What its first frame is counted as; others than 0 in the export of a project.
    """

    number: str
    name: str
    source: str
    size: int | None
    start: int
    step: int
    first: int


def read_cvat(
    path: str | os.PathLike, root: str | os.PathLike, with_masks: bool = False
) -> AnnotationSet:
    """Reads a file; every frame of its tasks is labelled, and so is every image that it lists.

    Args:
        path: The XML file.
        root: The folder in which videos and images are looked for.
        with_masks: Whether masks are drawn of polygons and masks: class 0 is the background, and an
            object of class k is k + 1.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: It is none of CVAT's, or parts of it do not belong together.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no CVAT file at {path}: check the path")
    tree = parse_xml(path, path.read_bytes(), CURE)
    if not is_cvat(tree):
        raise SampleError(f"{path} is not CVAT's XML, but a <{tree.tag}>: {CURE}")
    reading = _Reading(path, tree, MediaFolder(root), with_masks)
    snippets = reading.images(tree.findall("image")) + reading.videos(tree.findall("track"))
    if not snippets:
        reading.findings.refuse()
        raise SampleError(f"{path} holds no image and no track: {CURE}")
    classes = tuple(reading.classes)
    return AnnotationSet(
        FORMAT,
        snippets,
        classes,
        (BACKGROUND, *classes) if with_masks else (),
        palette=((0, 0, 0), *reading.colours.values()) if with_masks else (),
        read_mask=DrawnMasks(reading.objects, reading.sizes) if with_masks else None,
        findings=reading.findings,
    )


def is_cvat(tree: ElementTree.Element) -> bool:
    """Whether a tree is one of CVAT's."""
    return tree.tag == "annotations" and tree.find("meta") is not None


class _Reading:
    """What the images and tracks of a file become."""

    def __init__(
        self, path: Path, tree: ElementTree.Element, media: MediaFolder, with_masks: bool
    ) -> None:
        self.path, self.media, self.with_masks = path, media, with_masks
        self.findings = Findings()
        self.classes: dict[str, int] = {}
        self.colours: dict[str, tuple[int, ...]] = {}
        for label in tree.iterfind("meta//label"):
            name = label.findtext("name") or ""
            if name and label.find("parent") is None:
                self.classes.setdefault(name, len(self.classes))
                colour = (label.findtext("color") or "").lstrip("#")
                ok = len(colour) == 6 and all(c in "0123456789abcdefABCDEF" for c in colour)
                rgb = tuple(bytes.fromhex(colour)) if ok else (128, 128, 128)
                self.colours.setdefault(name, rgb)
        self.tasks = _tasks(tree)
        self.objects: dict[str, list[DrawnObject]] = {}
        self.sizes: dict[str, tuple[int, int]] = {}

    # ----------------------------------------------------------------- images

    def images(self, images: list[ElementTree.Element]) -> list[Snippet]:
        """The images of a file; those of a folder whose names differ by a number are a video."""
        of_name = {str(image.get("name", "")): image for image in images}
        if len(of_name) < len(images):
            self.findings.add(
                "images are listed more than once",
                f"{self.path.name}",
                CURE,
                stops=True,
                count=len(images) - len(of_name),
            )
        if not images:
            return []
        groups = grouping.grouped(of_name)
        self.findings.note(f"{self.path.name} lists images; {grouping.in_words(groups)}")
        snippets = []
        for video, names in groups.items():
            frames, shapes, sizes = {}, {}, {}
            for number, name in names.items():
                path = self.media.find(name)
                if path is None or not os.path.isfile(path):
                    self.findings.add(
                        "images are listed and are not there",
                        name,
                        "give the folder that holds them with --data.root, or copy them",
                        stops=True,
                    )
                    continue
                element = of_name[name]
                frames[number] = path
                shapes[number] = [s for e in element if (s := self._shape(e, e, -1)) is not None]
                sizes[number] = tuple(
                    whole_number(self.path, element, side) for side in ("height", "width")
                )
            if frames:
                labelled = sorted(frames)
                frames |= grouping.beside(frames[labelled[0]], frames)
                snippets.append(self._snippet(video, frames, labelled, shapes, sizes, None))
        return snippets

    # ----------------------------------------------------------------- videos

    def videos(self, tracks: list[ElementTree.Element]) -> list[Snippet]:
        """One video for each task that has tracks, or whose frames are known to show nothing."""
        if not tracks:
            return []
        snippets = []
        for position, task in enumerate(self.tasks):
            own = [track for track in tracks if self._owner(track) == position]
            opened, path = self._frames(task, len(self.tasks))
            found = [entry for track in own for entry in self._shapes(track)]
            # numbers of a project's tasks run on, in most versions
            first = task.first if all(frame >= task.first for frame, _ in found) else 0
            shapes: dict[int, list[Shape]] = {}
            for frame, shape in found:
                shapes.setdefault(frame - first, []).append(shape)
            last = max(shapes, default=-1)
            numbers = self._numbers(task, last, len(opened.frames), path)
            outside = sorted(n for n in numbers.values() if n not in opened.frames)
            if outside:
                self.findings.add(
                    "frames are annotated that the video does not have",
                    f"{path} has {len(opened.frames)} frames, and {self.path.name} annotates frame "
                    f"{outside[-1]}, {outside[-1] - len(opened.frames) + 1} beyond the last",
                    "give the video that the task was made of; it may have been cut or converted",
                    stops=True,
                    count=len(outside),
                )
            there = {f: n for f, n in numbers.items() if n in opened.frames}
            placed = {there[frame]: own for frame, own in shapes.items() if frame in there}
            labelled = sorted(there.values())
            size = opened.size or image_size(opened.frames[0])
            sizes = dict.fromkeys(labelled, size)
            name = task.name or Path(path).stem
            snippets.append(
                self._snippet(name, opened.frames, labelled, placed, sizes, opened.video)
            )
        return snippets

    def _owner(self, track: ElementTree.Element) -> int:
        """Position of the task of a track: by its number, else by its first frame."""
        numbers = [task.number for task in self.tasks]
        if (number := track.get("task_id")) in numbers:
            return numbers.index(number)
        frames = [whole_number(self.path, e, "frame") for e in track if e.get("frame")]
        owners = [i for i, task in enumerate(self.tasks) if task.first <= min(frames, default=0)]
        return owners[-1]

    def _frames(self, task: CvatTask, tasks: int) -> tuple[OpenedFrames, str]:
        """The frames of a task and where they are."""
        for name in (task.source, task.name):
            path = self.media.find(name) if name else None
            if path is not None and (is_video(path) or os.path.isdir(path)):
                return open_frames(path), path
        videos = self.media.videos
        if tasks == 1 and len(videos) == 1:
            self.findings.note(
                f"{self.path.name} was made of {task.source or 'a video that it does not name'}; "
                f"{videos[0]}, the only one there, is taken"
            )
            return open_frames(videos[0]), videos[0]
        wanted = task.source or task.name or "of one task"
        raise FileNotFoundError(
            f"{self.path} annotates the video {wanted!r}, which is not below {self.media.root} "
            f"({len(videos)} videos and folders of frames are): put it there under this name"
        )

    def _numbers(self, task: CvatTask, last: int, frames: int, path: str) -> dict[int, int]:
        """Frame of the task -> number in the video."""
        size = task.size if task.size is not None else max(last + 1, frames)
        if task.step == 1 and task.start == 0:
            return {frame: frame for frame in range(max(size, last + 1))}
        if last >= size:  # counted in the video already
            self.findings.note(
                f"{self.path.name} counts frames in the video {path}, of which its task takes "
                f"every {task.step}. from {task.start} on"
            )
            taken = range(task.start, task.start + size * task.step, task.step)
            return {frame: frame for frame in taken}
        self.findings.note(
            f"{self.path.name} counts the frames of its task, which takes every {task.step}. of "
            f"{path} from {task.start} on: frame 1 is {task.start + task.step} there"
        )
        return {frame: task.start + task.step * frame for frame in range(size)}

    # ----------------------------------------------------------------- shapes

    def _shape(
        self, element: ElementTree.Element, labelled: ElementTree.Element, track: int
    ) -> Shape | None:
        """One shape with the label of its element or track."""
        if element.tag in ("tag", "attribute"):
            return None
        label = labelled.get("label", "")
        if label not in self.classes:
            self.findings.add(
                "shapes have a label that the file does not list",
                f"{label!r} in {self.path.name}",
                f"add it to the labels of the task; {CURE}",
                stops=True,
            )
            return None
        found = shape_of(self.path, element, self.classes[label], track)
        if found is None:
            self.findings.add(
                f"shapes are {element.tag} and are left out",
                f"{label} in {self.path.name}",
                "draw boxes, polygons or masks: nothing else can be learned here",
            )
        return found

    def _shapes(self, track: ElementTree.Element) -> list[tuple[int, Shape]]:
        number = whole_number(self.path, track, "id")
        keys = []
        for element in track:
            found = self._shape(element, track, number)
            if found is not None:
                keys.append((whole_number(self.path, element, "frame"), element, found))
        return shapes_of_track(keys)

    def _snippet(
        self,
        name: str,
        frames: Mapping[int, str],
        labelled: list[int],
        shapes: Mapping[int, list[Shape]],
        sizes: Mapping[int, tuple[int, ...]],
        video: FramesByNumber | None,
    ) -> Snippet:
        """A video with the boxes, and the masks where they are asked for, of its frames."""
        rows, masks = BoxRows(self.findings), {}
        for number in labelled:
            height, width = sizes[number]
            rows.size(number, height, width)
            drawn = []
            for shape in shapes.get(number, ()):
                where = f"{list(self.classes)[shape.label]} in frame {number} of {name}"
                rows.add(number, shape.corners, shape.label, shape.track, where=where)
                if shape.outline is not None:
                    drawn.append((shape.order, DrawnObject(shape.label + 1, shape.outline)))
            if drawn and not self.with_masks:
                self.findings.note(
                    f"{self.path.name} has outlines too: --data.with_masks true learns a "
                    "segmentation from them"
                )
            if self.with_masks:
                token = f"{name} frame {number} ({self.path.name})"
                self.objects[token] = [o for _, o in sorted(drawn, key=lambda pair: pair[0])]
                self.sizes[token] = height, width
                masks[number] = token
        return Snippet(name, frames, labelled, masks, boxes=rows.table(), video=video)


def _tasks(tree: ElementTree.Element) -> list[CvatTask]:
    """The tasks of a file, in the order of their frames."""
    elements = tree.findall("meta/project/tasks/task") or tree.findall("meta/task")
    elements = elements or tree.findall("meta/job") or [ElementTree.Element("task")]
    tasks, first = [], 0
    for element in elements:
        size = _whole(element.findtext("size"))
        step = 1
        if match := (element.findtext("frame_filter") or "").replace(" ", ""):
            step = _whole(match.partition("step=")[2]) or 1
        start = _whole(element.findtext("start_frame")) or 0
        name = element.findtext("name") or ""
        source = element.findtext("source") or tree.findtext("meta/source") or ""
        number = element.findtext("id") or ""
        tasks.append(CvatTask(number, name, source, size, start, step, first))
        first += size or 0
    return tasks


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None
