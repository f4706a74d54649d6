"""Image and label files, read strictly: damage that a file shows is an error, not a picture."""

import os
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dff.data.files.orientation import JPEG, PNG, SIDEWAYS, UPRIGHT, orientation_of, turn
from dff.data.files.whole_files import write_whole
from dff.data.samples import SampleError

_JPEG_END = b"\xff\xd9"
_EXIF_ORIENTATION = 0x0112
_CURE = "copy it again from its source, or delete it; a training passes over it with skip_damaged"


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a PNG or JPEG file as (H, W, 3) uint8 RGB; grey, 16 bit and alpha become that too.

    A picture that its camera marked as lying is turned, as viewers do; see
    `dff.data.files.orientation`.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: The file is empty, cut short, damaged or no image.
    """
    return turn(*read_stored(path))


def read_stored(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Reads a file as `read_image` does, with its pixels as stored, and its orientation, 1 to 8."""
    data = _read(path)
    if data.startswith(PNG):
        _png_chunks(path, data)
    if not data.startswith((PNG, JPEG)):  # another format under their name: turned by cv2 itself
        return _decode(path, data, cv2.IMREAD_COLOR_RGB), UPRIGHT
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return _decode(path, data, flags), orientation_of(data)


def read_orientation(path: str | os.PathLike) -> int:
    """Reads how a file says that it is to be turned, 1 to 8; errors as `read_image`."""
    return orientation_of(_read(path))


def read_labels(path: str | os.PathLike) -> np.ndarray:
    """Reads a label file as (H, W) uint8 or uint16: the numbers that the file stores.

    A palette PNG gives its indices, whatever its colours are, and a grey one of less than 8 bit
    its own values: cv2 alone would give colours, and 0..255 for 0..1. One that says that it is to
    be turned is turned.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: The file is empty, cut short, damaged, no image, a JPEG or a colour image.
    """
    data = _read(path)
    orientation = orientation_of(data)
    if data.startswith(JPEG):
        raise SampleError(
            f"{path} is a JPEG, which blurs class numbers: save the labels as PNG with one channel"
        )
    step = 1
    if data.startswith(PNG):
        data, depth = _grey_png(path, data)
        step = 255 // (2**depth - 1) if depth < 8 else 1
    labels = _decode(path, data, cv2.IMREAD_UNCHANGED)
    if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
        raise _not_one_channel(path)
    return turn(labels if step == 1 else labels // np.uint8(step), orientation)


def read_planes(path: str | os.PathLike) -> np.ndarray:
    """Reads a 16-bit colour PNG that holds numbers, as (H, W, 3) uint16 in the file's order, RGB.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: The file is empty, cut short, damaged, or not a PNG of 3 channels of 16 bit.
    """
    data = _read(path)
    if data.startswith(PNG):
        _png_chunks(path, data)
    planes = _decode(path, data, cv2.IMREAD_UNCHANGED)
    if not data.startswith(PNG) or planes.dtype != np.uint16 or planes.shape[2:] != (3,):
        channels = 1 if planes.ndim == 2 else planes.shape[2]
        raise SampleError(
            f"{path} has {channels} channel{'s' * (channels > 1)} of {8 * planes.itemsize} bit: "
            "want a PNG with 3 channels of 16 bit, as KITTI stores flow"
        )
    return planes[..., ::-1]  # cv2 gives BGR


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width of an image as it is shown, from the first bytes of its file.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: It is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(_EXIF_ORIENTATION, UPRIGHT) >= SIDEWAYS
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: {_CURE}") from None
    except (OSError, ValueError, SyntaxError, TypeError) as error:
        raise SampleError(f"{path} is not an image ({error}): {_CURE}") from error
    return (width, height) if sideways else (height, width)


def values_in(labels: np.ndarray) -> np.ndarray:
    """Returns the numbers that (H, W) uint8 or uint16 labels hold, in order, each once."""
    return np.flatnonzero(count_values(labels)) if labels.dtype == np.uint8 else np.unique(labels)


def count_values(labels: np.ndarray) -> np.ndarray:
    """Returns how many pixels of (H, W) uint8 labels have each number, (256,) int64."""
    # 1 ms for 1024x2048, where np.unique takes 9 or more; exact to 16 million pixels of a number
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256])
    return counts.ravel().astype(np.int64)


def colours_of(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Labels (..., H, W) uint8 -> colours (..., H, W, 3) uint8; those without a colour are black.

    Args:
        labels: Numbers of colours.
        palette: Up to 256 colours.
    """
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, : len(palette)] = np.reshape(palette, (-1, 3))
    # one image of all: 1.8 ms for 720x1280, where table[labels] takes 7
    tall = labels.reshape(-1, labels.shape[-1])
    return cv2.LUT(cv2.merge([tall] * 3), table).reshape(*labels.shape, 3)


def write_png(path: str | os.PathLike, array: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16, whole or not at all.

    The bytes go to a temporary file beside `path` that then takes its name: a reader, or a run that
    is stopped, never leaves or meets half a file.

    Raises:
        ValueError: The array is none of these.
    """
    colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not colour and not (array.ndim == 2 and array.dtype in (np.uint8, np.uint16)):
        raise ValueError(
            f"cannot write {array.dtype} of shape {array.shape} to {path}: "
            "want (H, W, 3) uint8, or (H, W) uint8 or uint16"
        )
    # each row as its difference from the one above: labels are smaller so, and written faster
    how = [] if colour else [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    done, data = cv2.imencode(".png", array[..., ::-1] if colour else array, how)
    if not done:
        raise ValueError(f"cannot encode an array of shape {array.shape} as PNG for {path}")
    write_whole(path, data.tobytes())


def write_planes(path: str | os.PathLike, planes: np.ndarray) -> None:
    """Writes (H, W, 3) uint16 as `read_planes` reads it, whole or not at all."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(planes[..., ::-1], np.uint16))
    if not done:
        raise ValueError(f"cannot encode an array of shape {planes.shape} as PNG for {path}")
    write_whole(path, data.tobytes())


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key under which frame2 comes before frame10; names that tie stay in one order."""
    parts = re.split(r"(\d+)", name.lower())
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts], name


def _read(path: str | os.PathLike) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing, though the data set was listed with it: {_CURE}"
        ) from None
    except OSError as error:
        raise SampleError(f"{path} cannot be read ({error.strerror}): {_CURE}") from error
    if not data:
        raise SampleError(f"{path} is empty (0 bytes): {_CURE}")
    # zeros at the end are what a crashed copy leaves; junk after the end marker is harmless
    if data.startswith(JPEG) and _JPEG_END not in data.rstrip(b"\0")[-1024:]:
        raise SampleError(f"{path} is cut short (JPEG without its end marker): {_CURE}")
    return data


def _decode(path: str | os.PathLike, data: bytes, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:  # for one, more pixels than cv2 accepts
        raise SampleError(f"{path} cannot be decoded ({error.err}): {_CURE}") from error
    if image is None:
        known = data.startswith((PNG, JPEG))
        what = "is damaged" if known else f"is not an image (it begins with {data[:8]!r})"
        raise SampleError(f"{path} {what}: {_CURE}")
    return image


def _png_chunks(path: str | os.PathLike, data: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the (kind, whole chunk) of a PNG; checks lengths and check sums before libpng does.

    libpng prints to stderr from every worker, and some builds of cv2 return the part they got.
    """
    chunks, start, view = [], len(PNG), memoryview(data)
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        kind = data[start + 4 : start + 8]
        if zlib.crc32(view[start + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise SampleError(f"{path} is damaged (PNG check sum at byte {start}): {_CURE}")
        chunks.append((kind, data[start:end]))
        if kind == b"IEND":
            if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 25:
                break
            return chunks
        start = end
    raise SampleError(f"{path} is cut short (PNG without its end): {_CURE}")


def _grey_png(path: str | os.PathLike, data: bytes) -> tuple[bytes, int]:
    """Returns the PNG with its indices as grey values and nothing else, and its bit depth."""
    chunks = _png_chunks(path, data)
    header = chunks[0][1][4:21]
    depth, colour_type = header[12], header[13]
    if colour_type not in (0, 3):
        raise _not_one_channel(path)
    header = header[:13] + b"\0" + header[14:]
    grey = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    pixels = b"".join(chunk for kind, chunk in chunks if kind in (b"IDAT", b"IEND"))
    return PNG + grey + pixels, depth


def _not_one_channel(path: str | os.PathLike) -> SampleError:
    return SampleError(
        f"{path} has several channels, as colour pictures do: save the labels as PNG with one "
        "channel that holds the number of each pixel's class"
    )
