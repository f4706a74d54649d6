"""Flow files, read strictly: Middlebury's .flo, and KITTI's PNG of three channels of 16 bit."""

import os
import struct
from pathlib import Path

import numpy as np

from dff.data.files.images import read_planes, write_planes
from dff.data.files.whole_files import write_whole
from dff.data.samples import SampleError

FLOW_SUFFIXES = (".flo", ".png")

_TAG = b"PIEH"  # the float 202021.25, little endian
_UNKNOWN = 1e9
"""In a .flo, flow of more than this is unknown."""
_WRITTEN_UNKNOWN = 1e10
_LONGEST_SIDE = 99_999
"""As in the reader that Middlebury gives out."""
_ZERO, _STEPS = 2**15, 64
"""In a PNG, a vector is (value - zero) / steps of a pixel."""
_CURE = "copy it again from its source, or delete its pair"


def read_flow(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Reads a .flo (Baker et al. 2011) or a .png (KITTI; Geiger et al. 2012).

    Returns:
        Flow (H, W, 2) float32, x and y in pixels, 0 where it is not known; and where it is known,
        (H, W) bool.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: The file is damaged, or no flow.
        ValueError: The suffix is neither of the two.
    """
    if _suffix(path) == ".png":
        planes = read_planes(path)
        flow, known = (planes[..., :2].astype(np.float32) - _ZERO) / _STEPS, planes[..., 2] > 0
    else:
        flow = _read_flo(path)
        # x and y apart, here and below: numpy is ten times slower along an axis of two
        if missing := int((np.isnan(flow[..., 0]) | np.isnan(flow[..., 1])).sum()):
            raise SampleError(
                f"{path} is not a number (NaN) in {missing} of {flow[..., 0].size} pixels: "
                f"{_CURE}; unknown flow is written as a number over 1e9"
            )
        small = np.abs(flow) <= _UNKNOWN
        known = small[..., 0] & small[..., 1]
    if not known.all():
        flow[~known] = 0
    return flow, known


def write_flow(path: str | os.PathLike, flow: np.ndarray, known: np.ndarray | None = None) -> None:
    """Writes a .flo, or a .png as KITTI's, whole or not at all.

    Args:
        path: Its suffix says which. A PNG holds 64ths of a pixel, from -512 to 511.98.
        flow: (H, W, 2), x and y in pixels.
        known: (H, W) bool; None is all.

    Raises:
        ValueError: The suffix or a shape is wrong, or flow that is known cannot be written.
    """
    suffix, flow = _suffix(path), np.asarray(flow, np.float32)
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0:
        raise ValueError(f"flow of shape {flow.shape} for {path}: want (H, W, 2)")
    known = np.ones(flow.shape[:2], bool) if known is None else np.asarray(known, bool)
    if known.shape != flow.shape[:2]:
        raise ValueError(f"known of shape {known.shape} for {path}: want {flow.shape[:2]}")
    flow = np.where(known[..., None], flow, 0)
    if wrong := int((~(np.abs(flow) <= _UNKNOWN)).any(axis=2).sum()):
        raise ValueError(
            f"cannot write {path}: flow is not a number, or over 1e9, in {wrong} pixels; mark them "
            "as not known"
        )
    height, width = known.shape
    if suffix == ".flo":
        pixels = np.where(known[..., None], flow, _WRITTEN_UNKNOWN).astype("<f4")
        write_whole(path, _TAG + struct.pack("<ii", width, height) + pixels.tobytes())
        return
    steps = np.rint(flow * np.float32(_STEPS)) + _ZERO
    if steps.min() < 0 or steps.max() > 2**16 - 1:
        raise ValueError(
            f"cannot write {path}: a PNG holds -512 to 511.98 pixels, and the flow has "
            f"{flow.min():g} to {flow.max():g}; write a .flo"
        )
    write_planes(path, np.dstack([steps, known]).astype(np.uint16))


def _suffix(path: str | os.PathLike) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in FLOW_SUFFIXES:
        raise ValueError(f"{path}: a flow file ends in {' or '.join(FLOW_SUFFIXES)}")
    return suffix


def _read_flo(path: str | os.PathLike) -> np.ndarray:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing, though it was listed: {_CURE}") from None
    except OSError as error:
        raise SampleError(f"{path} cannot be read ({error.strerror}): {_CURE}") from error
    if len(data) >= 4 and data[:4] != _TAG:
        raise SampleError(
            f"{path} is no .flo file: it begins with {data[:4]!r}, and a .flo file with {_TAG!r} "
            f"(the number 202021.25): {_CURE}"
        )
    if len(data) < 12:
        raise SampleError(f"{path} is cut short ({len(data)} bytes, no whole header): {_CURE}")
    width, height = struct.unpack_from("<ii", data, 4)
    if not (1 <= width <= _LONGEST_SIDE and 1 <= height <= _LONGEST_SIDE):
        raise SampleError(
            f"{path} says that it is {width} wide and {height} high: want 1 to {_LONGEST_SIDE}; "
            f"its header is damaged: {_CURE}"
        )
    wanted = 12 + 8 * width * height
    if len(data) != wanted:
        what = "is cut short" if len(data) < wanted else "is longer than it says"
        raise SampleError(
            f"{path} {what}: {len(data)} bytes, and {width}x{height} pixels (width x height) take "
            f"{wanted}: {_CURE}"
        )
    # astype copies: what frombuffer gives cannot be written to
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)
