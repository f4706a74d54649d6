"""Feeds spoilt files to the readers: no crash, no hang, no error that people cannot read.

    python tests/faults/fuzz.py --minutes 10
    python tests/faults/fuzz.py --reader frame.png --input 1234 --keep spoilt

Bytes are flipped, cut, repeated, blanked, moved and replaced by extreme numbers, all drawn from a
seed. The reading is done in a process of its own; its end by a signal is a finding like any other.
"""

import argparse
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANG_SECONDS = 30.0 * float(os.environ.get("DFF_PATIENCE", "1"))
MEMORY = 1 << 30
"""Bytes that reading one small file may take at most."""


def spoil(data: bytes, chance: random.Random) -> bytes:
    """Returns a file with one to three faults."""
    spoilt = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if not spoilt:
            break
        _FAULTS[chance.randrange(len(_FAULTS))](spoilt, chance)
    return bytes(spoilt)


def _flip(data: bytearray, chance: random.Random) -> None:
    # half of them near the beginning or the end, where sizes and tables are
    for _ in range(chance.choice((1, 2, 8))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    data[at : at + 4] = chance.choice(_EXTREMES)[: len(data[at : at + 4])]


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randrange(1, 65)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    part = data[at : at + chance.randrange(1, 257)]
    data[at:at] = part * chance.choice((1, 2, 16))


def _blank(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    part = len(data[at : at + chance.randrange(1, 257)])
    data[at : at + part] = bytes([chance.choice((0, 255))]) * part


def _move(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    part = data[at : at + 64]
    del data[at : at + 64]
    to = chance.randrange(len(data) + 1)
    data[to:to] = part


def _noise(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    part = len(data[at : at + chance.randrange(1, 65)])
    data[at : at + part] = chance.randbytes(part)


_FAULTS = (_flip, _flip, _overwrite, _overwrite, _cut, _remove, _repeat, _blank, _move, _noise)
_EXTREMES = (
    *(b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\x80\0\0\0"),
    *(b"\0\0\0\x80", b"\0\0\1\0", b"-1e9", b"9999", b"nan ", b"\0\0\xc0\x7f"),
)


def _place(data: bytearray, chance: random.Random) -> int:
    if chance.random() < 0.5:
        near = chance.randrange(min(len(data), 200))
        return near if chance.random() < 0.5 else len(data) - 1 - near
    return chance.randrange(len(data))


# -------------------------------------------------------------------------- the reading process


def read_all(names: list[str], start: int) -> None:
    """Reads spoilt files, one reader after the other, and says on standard output what came."""
    import resource
    import warnings

    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    warnings.simplefilter("ignore")
    from fuzz_readers import READERS

    readers = [r for r in READERS if r.name in names or not names]
    with tempfile.TemporaryDirectory() as folder:
        good = {}
        for number, reader in enumerate(readers):
            path = Path(folder) / str(number) / reader.name
            path.parent.mkdir(parents=True)
            reader.make(path)
            good[reader.name] = (path, path.read_bytes())
        for number in count(start):
            reader = readers[number % len(readers)]
            path, data = good[reader.name]
            answers.write(f"begin {number} {reader.name}\n")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            path.write_bytes(spoil(data, random.Random(f"{reader.name} {number}")))
            told = outcome(reader, path)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            if grown > MEMORY:
                told = f"took {grown >> 20} MB of memory"
            answers.write(f"end {told}\n")


def outcome(reader: object, path: Path) -> str:
    """Tells that a reading was "good" or "refused", or what was wrong with it."""
    try:
        reader.read(path)
    except (ValueError, OSError) as error:
        known = path.name in str(error) and type(error).__module__.split(".")[0] in (
            "builtins",
            "dff",
        )
        plain = type(error) is not UnicodeDecodeError and "Traceback" not in str(error)
        if known and plain:
            return "refused"
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    return "good"


# ----------------------------------------------------------------------------------- the watch


def fuzz(seconds: float, names: list[str], start: int = 0) -> tuple[Counter, list[str]]:
    """Reads spoilt files for some time.

    Args:
        seconds: How long, counted from the first file.
        names: Of the readers; all if there are none.
        start: Number of the first input; the same number is the same input.

    Returns:
        How many inputs each reader had, by name; and what was found, a line each.
    """
    tried: Counter = Counter()
    found: list[str] = []
    until = None
    while until is None or time.monotonic() < until:
        number, name = None, ""
        for line in _read_apart(names, start):
            kind, _, rest = line.partition(" ")
            if kind == "begin":
                until = until or time.monotonic() + seconds
                word, _, name = rest.partition(" ")
                number = int(word)
                continue
            tried[name] += 1
            if rest not in ("good", "refused"):
                found.append(f"{name} --input {number}: {rest}")
            if kind == "died" or time.monotonic() > until:
                break
        if number is None:
            raise RuntimeError(f"the readers could not be made: {line}")
        start = number + 1
    return tried, found


def _read_apart(names: list[str], start: int) -> Iterator[str]:
    """What a reading process says, and last how it died, where it did."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", str(start), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    rest, patience = b"", 20 * HANG_SECONDS  # of the imports
    try:
        while select.select([process.stdout], [], [], patience)[0]:
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                yield f"died the process ended with {process.wait()}"
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
            patience = HANG_SECONDS
        yield f"died no end after {patience:.0f} s"
    finally:
        process.kill()
        process.wait()


def main() -> int:
    """Returns 1 where something was found."""
    if sys.argv[1:2] == ["--child"]:
        read_all(sys.argv[3:], int(sys.argv[2]))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--reader", nargs="+", help="names of readers; all if left out")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--input", type=int, help="one input alone, of one reader")
    parser.add_argument("--keep", type=Path, help="folder to write that input to")
    args = parser.parse_args()
    if args.input is not None:
        read_one(args.reader[0], args.input, args.keep)
        return 0
    tried, found = fuzz(60 * args.minutes, args.reader or [], args.first)
    for name, times in tried.items():
        print(f"{name:34} {times:7}")
    print(f"{sum(tried.values())} inputs, {len(found)} findings")
    for line in found:
        print(line)
    return 1 if found else 0


def read_one(name: str, number: int, keep: Path | None) -> None:
    """Writes one input and reads it in this process, so that a traceback is seen."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from fuzz_readers import READERS

    (reader,) = [r for r in READERS if r.name == name]
    with tempfile.TemporaryDirectory() as folder:
        path = (keep or Path(folder)) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        reader.make(path)
        path.write_bytes(spoil(path.read_bytes(), random.Random(f"{name} {number}")))
        print(f"{path}: {path.stat().st_size} bytes", flush=True)
        reader.read(path)


if __name__ == "__main__":
    sys.exit(main())
