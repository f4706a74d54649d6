"""A list of videos in a file, and their names for processes that share it."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from dff.data.files.addresses import is_address, shown
from dff.data.video.sources import FOLDER_FPS, VideoError, VideoInput, distinct, videos_at
from dff.inference.cluster.remote_videos import videos_at_address
from dff.inference.results.folders import SHARED, ResultFolder
from dff.inference.results.result_files import RESULTS, own_names


def read_list(file: str | os.PathLike) -> list[str]:
    """The names in a list, one a line; what begins with # is a comment.

    They are names and nothing else: no glob, variable or command in them is looked at. A name on
    disk may hold any bytes, so they are kept as they are.

    Args:
        file: The list.

    Raises:
        OSError: It cannot be read.
        ValueError: It names nothing, or is no list.
    """
    content = Path(file).read_bytes()
    if b"\0" in content:
        raise ValueError(f"{file} is no list of videos: wanted a text file with one name a line")
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # some editors begin with a mark
    names = [os.fsdecode(line.removesuffix(b"\r")) for line in lines]
    names = [name for name in names if name.strip() and not name.startswith("#")]
    if not names:
        raise ValueError(f"{file} names no video: write one file or folder a line")
    return names


def find_listed(paths: Iterable[str], fps: float = FOLDER_FPS) -> list[VideoInput]:
    """The videos of a list in its order: files, folders of frames, and those in folders of videos.

    They may be at addresses. A name at which there is no video is given as well: opening it says
    why, and the others of a long list are not held up.

    Args:
        paths: Of `read_list`.
        fps: Frames per second of folders of images.

    Raises:
        ValueError: The rate is not a positive number.
    """
    return distinct(_listed(paths), fps)


def _listed(paths: Iterable[str]) -> Iterator[VideoInput]:
    for path in paths:
        if is_address(path):
            yield from _at_address(path)
            continue
        try:
            yield from videos_at(path)
        except OSError:
            yield VideoInput(path, Path(path).stem)
        except VideoError:  # one image, which a decoder would take for a video of one frame
            yield VideoInput(path, Path(path).stem, frames=())


def _at_address(address: str) -> Iterator[VideoInput]:
    try:
        yield from videos_at_address(address)
    except FileNotFoundError:
        yield VideoInput(shown(address), PurePosixPath(address).stem, address=address)


def shared_names(
    folder: ResultFolder, videos: Sequence[VideoInput], results: Sequence[str] = RESULTS
) -> list[VideoInput]:
    """`own_names` for processes that share an output folder: the first of them decides for all.

    What is in the folder changes while they work, and each of them may begin at another time.

    Args:
        folder: Of the results; it is there.
        videos: Those of the whole list, in its order.
        results: Of `results_of`.

    Raises:
        OSError: Nothing can be written there.
    """
    digest = hashlib.sha256()
    for video in videos:
        frame = video.frames[0] if video.frames else ""
        digest.update(os.fsencode(f"{video.place}\0{frame}\0"))
    file = f"{digest.hexdigest()[:16]}.names"
    content = folder.once(
        file,
        lambda: json.dumps([video.name for video in own_names(folder, videos, results)]).encode(),
    )
    try:
        names = json.loads(content)
        return [replace(video, name=name) for video, name in zip(videos, names, strict=True)]
    except ValueError as error:  # it is made in one step where the file system can do that
        raise ValueError(
            f"{folder}/{SHARED}/{file} is being written, or damaged: start this one again"
        ) from error
