"""Reads and writes MXNet's .params files with numpy alone; nothing in a file is ever executed."""

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}
MAX_DIMENSIONS = 32


def is_params(path: str | Path) -> bool:
    """Whether a file opens with the header of MXNet's .params files."""
    with open(path, "rb") as file:
        return file.read(8) == struct.pack("<Q", MAGIC)


def read_params(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of a .params file by name, in the file's order.

    Takes the layouts of all MXNet releases: legacy (before 0.9), V1, V2, V3, dense arrays.

    Args:
        path: The file.

    Returns:
        Name -> array. Names start with `arg:` or `aux:` in a model's file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no .params file, is cut short, or holds what no network has (sparse
            arrays, unknown types); the message names file, reason and cure.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the .params file that MXNet saved")
    with open(path, "rb") as file:
        reader = _Reader(path, file, os.fstat(file.fileno()).st_size)
        if reader.left < 24 or reader.numbers("QQ")[0] != MAGIC:
            raise ValueError(
                f"{path} is no MXNet .params file (wrong header): give the file that mx.nd.save "
                "or save_checkpoint wrote, not its .json, an archive or a saved web page"
            )
        count = reader.count(8)
        arrays = [reader.array() for _ in range(count)]
        if reader.count(8) != count:
            raise reader.error("it has another number of names than of arrays")
        names = [reader.name() for _ in range(count)]
        if reader.left:
            raise reader.error(f"{reader.left} bytes follow its last name")
    if len(set(names)) != count:
        raise reader.error("a name stands there twice")
    return dict(zip(names, arrays, strict=True))


def write_params(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as MXNet 1.x does (V2 layout, dense, CPU).

    Args:
        path: The file to write.
        arrays: Name -> array of one of MXNet's types: float16, 32, 64, uint8, int8, 32, 64.

    Raises:
        ValueError: An array of another type.
    """
    codes = {np.dtype(name): code for code, name in DTYPES.items()}
    for name, array in arrays.items():
        if array.dtype not in codes or array.ndim == 0:
            raise ValueError(
                f"{name} is {array.dtype} of {array.ndim} dimensions: convert it first"
            )
    with open(path, "wb") as file:
        file.write(struct.pack("<QQQ", MAGIC, 0, len(arrays)))
        for array in arrays.values():
            file.write(struct.pack(f"<Iii{array.ndim}q", V2, 0, array.ndim, *array.shape))
            file.write(struct.pack("<iii", 1, 0, codes[array.dtype]))
            file.write(array.tobytes())
        file.write(struct.pack("<Q", len(arrays)))
        for name in arrays:
            encoded = name.encode()
            file.write(struct.pack("<Q", len(encoded)) + encoded)


class _Reader:
    """A file that hands out only what it holds: no length in it is believed unchecked."""

    def __init__(self, path: Path, file, size: int) -> None:
        self.path = path
        self.file = file
        self.left = size

    def error(self, reason: str) -> ValueError:
        return ValueError(
            f"{self.path} cannot be read as MXNet parameters: {reason}; "
            "download or copy the file again and compare its size"
        )

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise self.error(f"it is cut short ({size} bytes wanted, {self.left} left)")
        self.left -= size
        return self.file.read(size)

    def numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def count(self, least: int) -> int:
        """A number of things of at least `least` bytes each."""
        (count,) = self.numbers("Q")
        if count * least > self.left:
            raise self.error(f"it is cut short ({count} entries announced, {self.left} bytes left)")
        return count

    def name(self) -> str:
        (length,) = self.numbers("Q")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.error("a name is no text") from None

    def array(self) -> np.ndarray:
        (version,) = self.numbers("I")
        if version in (V2, V3):
            storage, dimensions = self.numbers("ii")
            if storage != 0:
                raise self.error(f"it holds a sparse array (storage type {storage})")
            kind = "q"
        elif version == V1:
            (dimensions,) = self.numbers("I")
            kind = "q"
        else:
            # The legacy layout has no version: its first number is the number of dimensions.
            dimensions, kind = version, "I"
        # An array that was never filled ends here: -1 dimensions in V3, 0 before.
        if dimensions == (-1 if version == V3 else 0):
            return np.zeros(0, np.float32)
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            raise self.error(f"an array of {dimensions} dimensions")
        shape = self.numbers(kind * dimensions)
        _, _, code = self.numbers("iii")
        if code not in DTYPES:
            raise self.error(f"an array of unknown type {code}")
        if any(side < 0 for side in shape):
            raise self.error(f"an array of shape {shape}")
        dtype = np.dtype(DTYPES[code])
        data = self.take(math.prod(shape) * dtype.itemsize)
        # A bytearray makes the array writable, which torch.from_numpy wants.
        return np.frombuffer(bytearray(data), dtype).reshape(shape)
