"""Pictures that their camera marked as lying (EXIF orientation): the mark, and turning by it.

Viewers, browsers and `cv2.imread` show such a picture turned, and so do the annotation tools that
show it in a browser; `PIL.Image.open`, torchvision and `cv2.IMREAD_UNCHANGED` give the pixels as
they are stored, and so do the masks that a script computes from them. So here:

- A frame is what viewers show, in training and in prediction alike.
- A mask with a mark of its own is turned by that.
- A mask without one lies on its frame as shown or as stored, whichever has its size. Where both
  have it (turned by 180 degrees, mirrored, or square), nothing tells, and the pair is refused.
- Boxes of data without masks are in pixels of the file as it is stored, as in ImageNet; where the
  size in their annotation is that of the frame as shown alone, they are in those.
"""

import struct

import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"

UPRIGHT = 1
"""The orientation of a picture that is stored as it is shown."""
SIDEWAYS = 5
"""From here on, width and height change places."""
_ORIENTATION = 0x0112
_SHORT = 3
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """A stored picture (H, W, ...) as it is shown.

    Args:
        image: The pixels as stored.
        orientation: 1 to 8, as EXIF counts them.
    """
    if orientation >= SIDEWAYS:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def orientation_of(data: bytes) -> int:
    """The orientation of a PNG or JPEG file, 1 to 8; UPRIGHT where none is told, or it is damaged.

    Args:
        data: The whole file.
    """
    return _exif_orientation(_exif_of_png(data) if data.startswith(PNG) else _exif_of_jpeg(data))


def _exif_orientation(exif: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == _ORIENTATION and kind == _SHORT:
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:  # it ends before what it announces
        pass
    return UPRIGHT


def _exif_of_png(data: bytes) -> bytes:
    at = len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"eXIf":  # before the pixels or behind them
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _exif_of_jpeg(data: bytes) -> bytes:
    at = 2 if data.startswith(JPEG) else len(data)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:  # the pixels begin
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 : at + 2 + length]
        at += 2 + length
    return b""
