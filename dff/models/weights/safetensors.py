"""Reads .safetensors files with torch alone; nothing in a file is ever executed.

The layout: 8 bytes with the length of a JSON header, the header with type, shape and place of each
tensor, and the bytes of all tensors.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}
_LONGEST_HEADER = 100_000_000  # bytes, as the format allows


def is_safetensors(path: str | Path) -> bool:
    """Whether a file opens as .safetensors files do: a length, and a JSON object."""
    with open(path, "rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and _length(head) <= _LONGEST_HEADER


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file by name, in the header's order.

    Args:
        path: The file.

    Raises:
        ValueError: The file is cut short, or its header is not of this format; the message names
            file, reason and cure.
    """
    data = bytearray(Path(path).read_bytes())
    start = 8 + _length(data)
    if start > len(data):
        raise _error(path, f"its header of {start - 8} bytes is cut short")
    try:
        header = json.loads(data[8:start])
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _tensor(data, start, entry) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _error(path, str(error) or type(error).__name__) from error


def _tensor(data: bytearray, start: int, entry: dict[str, Any]) -> Tensor:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise ValueError(f"a tensor of type {entry['dtype']}")
    shape, (first, last) = [int(side) for side in entry["shape"]], entry["data_offsets"]
    count = math.prod(shape)
    if min(shape, default=0) < 0 or not 0 <= first <= last <= len(data) - start:
        raise ValueError(
            f"it is cut short ({last} bytes of tensors announced, {len(data) - start} there)"
        )
    if last - first != count * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} with {last - first} bytes")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    # a copy: others may share its bytes, and the whole file would stay in memory with one tensor
    return (
        torch.frombuffer(data, dtype=dtype, count=count, offset=start + first).clone().view(shape)
    )


def _length(head: bytes | bytearray) -> int:
    return struct.unpack_from("<Q", head)[0] if len(head) >= 8 else 0


def _error(path: str | Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} cannot be read as safetensors: {reason}; download or copy the file again and "
        "compare its size"
    )
