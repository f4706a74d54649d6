"""The classes of masks and their colours, as files list them beside the masks."""

import csv
from pathlib import Path

from dff.data.samples import SampleError, read_text

FILES = ("classes.txt", "labelmap.txt", "class_dict.csv")
"""Names of such files: ours, CVAT's (`name:r,g,b:parts:actions`), and a table `name,r,g,b`."""


def class_file(root: Path) -> Path | None:
    """The list of classes in a folder; None where there is none."""
    return next((root / name for name in FILES if (root / name).is_file()), None)


def class_lines(file: Path) -> list[str]:
    """A list of classes as lines of `classes.txt`: "name", or "name r g b".

    Raises:
        SampleError: A line has another form.
    """
    lines = read_text(file).splitlines()
    if file.name == "labelmap.txt":
        rows = [line.split(":")[:2] for line in lines if line.strip() and line[0] != "#"]
        rows = [[name, *colour.split(",")] for name, colour in rows]
    elif file.suffix == ".csv":
        rows = [row[:4] for row in csv.reader(lines[1:]) if row]
    else:
        return lines
    for row in rows:
        if len(row) != 4 or not all(value.strip().isdecimal() for value in row[1:]):
            raise SampleError(
                f"{file} has the line {':'.join(row)!r}: wanted the name of a class and its "
                "colour, red, green and blue from 0 to 255"
            )
    return [" ".join(value.strip() for value in row) for row in rows]
