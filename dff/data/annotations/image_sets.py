"""Lists of the images of each split, as Pascal VOC has them in its folder ImageSets."""

from pathlib import Path

from dff.data.samples import read_text

_FILES = {"train": ("train.txt", "trainval.txt"), "val": ("val.txt", "test.txt")}


def listed_images(folder: Path) -> dict[str, list[str]]:
    """The names in the lists of a folder, by split; nothing where none is of the training.

    Raises:
        SampleError: A list cannot be read.
    """
    found = {
        split: next((folder / name for name in names if (folder / name).is_file()), None)
        for split, names in _FILES.items()
    }
    if found["train"] is None:
        return {}
    return {
        split: [line.split()[0] for line in read_text(file).splitlines() if line.split()]
        for split, file in found.items()
        if file is not None
    }
