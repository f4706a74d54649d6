"""Numbers and cells of numbers from MATLAB's .mat files, version 5 to 7, read strictly.

scipy reads far more kinds, and lets a damaged file end the whole process (a segmentation fault in
1.17): other people's bytes are read here in Python alone.
"""

import math
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

_HEADER_BYTES, _MOST_BYTES, _MOST_DEPTH = 128, 1 << 30, 8
_MATRIX, _COMPRESSED, _COMPLEX, _CELL, _NUMBERS = 14, 15, 0x800, 1, range(6, 16)
_EMPTY = np.zeros((1, 0))
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_TYPES |= {12: "i8", 13: "u8"}


def read_mat(path: str | os.PathLike, names: Collection[str]) -> dict[str, np.ndarray]:
    """Reads variables of a file.

    Args:
        path: The file.
        names: Of the variables that are wanted; others are passed over.

    Returns:
        Those that are there: numbers, or cells of them as an array of arrays, in MATLAB's shapes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, of another kind, or holds something else in one of them.
    """
    data = Path(path).read_bytes()
    mark = data[126:_HEADER_BYTES]
    if mark not in (b"IM", b"MI") or len(data) < _HEADER_BYTES:
        raise ValueError("no .mat file of MATLAB 5 to 7")
    return _Parser("<" if mark == b"IM" else ">", names).read(memoryview(data))


class _Parser:
    def __init__(self, order: str, names: Collection[str]) -> None:
        self.names = names
        # made once, for a data set's file holds hundreds of thousands of cells
        self.two = struct.Struct(f"{order}II").unpack_from
        self.sides = f"{order}{{}}i"
        self.types = {kind: np.dtype(order + name) for kind, name in _TYPES.items()}
        self.room = _MOST_BYTES  # a small file may unpack to all the memory there is

    def read(self, data: memoryview) -> dict[str, np.ndarray]:
        found = {}
        for kind, body in self._elements(data[_HEADER_BYTES:]):
            if kind == _COMPRESSED:
                ((kind, body),) = self._elements(self._unpacked(body))
            if kind != _MATRIX:
                raise ValueError(f"an element of kind {kind} where a variable was expected")
            parts = self._parts(body)
            name = bytes(parts[2][1]).decode("latin-1")
            if name in self.names:
                found[name] = self._matrix(parts)
        return found

    def _unpacked(self, body: memoryview) -> memoryview:
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(body, self.room)
        except zlib.error as error:
            raise ValueError(f"damaged, {error}") from error
        if not unpacker.eof:
            raise ValueError("damaged, its packed part has no end")
        self.room -= len(data)
        return memoryview(data)

    def _elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        at = 0
        while at < len(data):
            if len(data) - at < 8:
                raise ValueError("cut short in an element's head")
            kind, size = self.two(data, at)
            start = at + 8
            if kind >> 16:  # a small one, whose bytes stand in its head
                kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > (4 if start == at + 4 else len(data) - start):
                raise ValueError("cut short, or an element with a wrong size")
            yield kind, data[start : start + size]
            at = start + size
            if kind != _COMPRESSED:  # alone is not filled up to 8 bytes
                at += -at % 8

    def _parts(self, body: memoryview) -> list[tuple[int, memoryview]]:
        parts = list(self._elements(body))
        if len(parts) < 3:
            raise ValueError("a variable without flags, size or name")
        return parts

    def _matrix(self, parts: list[tuple[int, memoryview]], depth: int = 0) -> np.ndarray:
        (_, flags), (_, sides), _, *parts = parts
        if len(flags) != 8 or len(sides) % 4 or len(sides) < 8:
            raise ValueError("a variable with wrong flags or a wrong size")
        flag, _ = self.two(flags)
        shape = struct.unpack(self.sides.format(len(sides) // 4), sides)
        if min(shape) < 0:
            raise ValueError(f"a variable of size {shape}")
        if flag & 0xFF == _CELL:
            return self._cells(parts, shape, depth)
        if flag & 0xFF not in _NUMBERS or flag & _COMPLEX or len(parts) != 1:
            raise ValueError(f"a variable of class {flag & 0xFF}, and numbers or cells were wanted")
        kind, numbers = parts[0]
        stored = self.types.get(kind)
        if stored is None:
            raise ValueError(f"numbers of kind {kind}")
        if len(numbers) != stored.itemsize * math.prod(shape):
            raise ValueError(f"{len(numbers)} bytes of numbers for a size of {shape}")
        # in the type that they are stored in, which MATLAB takes as small as it can
        found = np.frombuffer(numbers, stored).astype(_TYPES[kind], copy=False)
        return found.reshape(shape, order="F")

    def _cells(
        self, parts: list[tuple[int, memoryview]], shape: tuple[int, ...], depth: int
    ) -> np.ndarray:
        if len(parts) != math.prod(shape) or depth == _MOST_DEPTH:
            raise ValueError(f"{len(parts)} cells for a size of {shape}, {depth} deep")
        cells = np.empty(len(parts), object)
        for number, (kind, body) in enumerate(parts):
            if kind != _MATRIX:
                raise ValueError(f"an element of kind {kind} where a cell was expected")
            # of an empty cell there is nothing at all
            cells[number] = self._matrix(self._parts(body), depth + 1) if body else _EMPTY
        return cells.reshape(shape, order="F")
