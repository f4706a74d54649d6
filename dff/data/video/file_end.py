"""Whether a video file ends before its container says that it does."""

import os
from collections.abc import Iterator
from typing import BinaryIO

from av.container import InputContainer
from av.video.stream import VideoStream

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_EBML_HEAD = 12  # at most, with the id
# A cluster and what may lie in it: time, blocks, groups of blocks, and what is rare.
_CLUSTER_PARTS = {_CLUSTER, 0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0x5854}
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_PACK, _PACK_BYTES, _END = b"\0\0\1\xba", 1 << 17, b"\xb9"
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)


def ends_early(path: str, container: InputContainer, stream: VideoStream) -> bool:
    """Tells whether the container promises pictures beyond the end of its file.

    What it promises is bytes, in the sizes of its parts: numbers of frames in headers are often
    wrong in whole files, and a live recording has none. A part that is missing after the last
    picture, such as an index, counts for nothing.

    Args:
        path: The file.
        container: The same, opened.
        stream: Its pictures; all packets were read.

    Returns:
        False as well where a container promises nothing.
    """
    formats = set(container.format.name.split(","))
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        if "mp4" in formats:
            return _mp4_ends_early(file, size, stream)
        if "matroska" in formats:
            return _matroska_ends_early(file, size)
        if "avi" in formats:
            return _avi_ends_early(file, size)
        if "flv" in formats:
            return _flv_ends_early(file, size)
        if "mpegts" in formats:
            return _transport_stream_ends_early(file, size)
        if "mpeg" in formats:
            return _program_stream_ends_early(file, size)
        if "asf" in formats:
            return _asf_ends_early(file, size)
    return False


def mp4_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields the outermost boxes of an MP4 or QuickTime file: type, start of content, end.

    The last one may end beyond `size`. One of which not even the header is there has no type.
    """
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        length, start = int.from_bytes(head[:4], "big"), place + 8
        if length == 1:
            length, start = int.from_bytes(head[8:], "big"), place + 16
        if start > size:
            yield b"", start, start
            return
        if length == 0:  # up to the end of the file
            length = size - place
        if length < start - place:  # no box at all
            return
        yield head[4:8], start, place + length
        place += length


def _mp4_ends_early(file: BinaryIO, size: int, stream: VideoStream) -> bool:
    samples = (sample for sample in stream.index_entries if not sample.is_discard)
    if any(sample.pos + sample.size > size for sample in samples):
        return True
    fragmented = False
    for kind, start, end in mp4_boxes(file, size):
        fragmented = fragmented or kind == b"moof"
        if fragmented and kind in (b"", b"moof", b"mdat") and end > size:
            return True
        if kind == b"sidx" and end <= size and end + _referenced_bytes(file, start, end) > size:
            return True
    return False


def _referenced_bytes(file: BinaryIO, start: int, end: int) -> int:
    """Bytes after a segment index, up to the end of the last segment that it names."""
    file.seek(start)
    box = file.read(end - start)
    width = 8 if box[:1] == b"\1" else 4  # of the earliest time, and of the first offset
    offset = 12 + width
    first = int.from_bytes(box[offset : offset + width], "big")
    references = box[offset + width + 4 :]
    sizes = (references[place : place + 4] for place in range(0, len(references), 12))
    # The highest bit tells an index of indices from one of segments.
    return first + sum(int.from_bytes(size, "big") & 0x7FFFFFFF for size in sizes)


def _matroska_ends_early(file: BinaryIO, size: int) -> bool:
    place, end, kind, clusters = 0, None, 0, False
    while place < size:
        file.seek(place)
        element = _ebml_element(file.read(_EBML_HEAD))
        if element is None:
            break
        kind, head, length = element
        place += head
        if kind == _SEGMENT:
            if length is not None and place + length <= size:
                return False
            end = None if length is None else place + length
            continue
        if length is None:
            if kind != _CLUSTER:
                return False
            length = 0  # what lies in it follows as if it lay beside it
        clusters = clusters or kind == _CLUSTER
        place += length
    if place > size:
        return kind in _CLUSTER_PARTS or not clusters
    if place < size:
        return size - place < _EBML_HEAD  # else these bytes are no element at all
    return end is not None and kind in _CLUSTER_PARTS


def _ebml_element(head: bytes) -> tuple[int, int, int | None] | None:
    """Its id, bytes of its head, and size, None if that is left open; None if cut or no element."""
    id_bytes = 9 - head[0].bit_length()
    if id_bytes > 4 or len(head) <= id_bytes:
        return None
    size_bytes = 9 - head[id_bytes].bit_length()
    if size_bytes > 8 or len(head) < id_bytes + size_bytes:
        return None
    mask = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & mask
    return (
        int.from_bytes(head[:id_bytes], "big"),
        id_bytes + size_bytes,
        None if size == mask else size,
    )


def _avi_ends_early(file: BinaryIO, size: int) -> bool:
    place = 0
    while place + 12 <= size:
        file.seek(place)
        head = file.read(12)
        kind, length, form = head[:4], int.from_bytes(head[4:8], "little"), head[8:]
        if kind == b"RIFF":
            place += 12
            continue
        if kind == b"LIST" and form == b"movi" and length not in _UNKNOWN_SIZES:
            if place + 8 + length > size:
                return True
        place += 8 + length + length % 2
    return False


def _flv_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(5)
    place = int.from_bytes(file.read(4), "big") + 4
    while place < size:
        file.seek(place)
        head = file.read(11)
        # Sound, pictures, data; the two bits above them are of no use here.
        if head[0] & 31 not in (8, 9, 18):
            return False
        end = place + 11 + int.from_bytes(head[1:4], "big")
        if len(head) < 11 or end > size:
            return True
        place = end + 4
    return False


def _transport_stream_ends_early(file: BinaryIO, size: int) -> bool:
    head = file.read(1024)
    # Of broadcasts, of discs and cameras with a time before each packet, and with a checksum.
    for length, first in ((188, 0), (192, 4), (204, 0)):
        if set(head[first::length]) == {0x47}:
            return size % length > 0
    return False


def _program_stream_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(max(size - _PACK_BYTES, 0))
    tail = file.read()
    place = tail.rfind(_PACK)
    if place < 0:
        return False
    # A pack header is longer in MPEG-2, and may be stuffed.
    place += 12
    if tail[place - 8 : place - 7] and tail[place - 8] >> 6 == 1:
        place += 2 + (tail[place + 1] & 7 if place + 1 < len(tail) else 0)
    while tail[place : place + 3] == _PACK[:3] and tail[place + 3 : place + 4] != _END:
        place += 6 + int.from_bytes(tail[place + 4 : place + 6], "big")
    return place > len(tail)


def _asf_ends_early(file: BinaryIO, size: int) -> bool:
    head = file.read(4096)
    place = head.find(_ASF_PROPERTIES)
    if not head.startswith(_ASF_HEADER) or place < 0:
        return False
    promised = int.from_bytes(head[place + 40 : place + 48], "little")
    live = int.from_bytes(head[place + 88 : place + 92], "little") & 1
    return not live and promised > size
