"""Data sets that cannot be trained on or evaluated, or only seem so."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from place import HEIGHT, WIDTH, Fault, Place, cut, write_folder_data, write_png
from vid_layout import annotation, write_video
from warm import Command

CHANGE = Callable[[Path], object]


def own_data(
    place: Place,
    change: CHANGE = lambda root: None,
    *words: str,
    mask: Callable[[int], np.ndarray] | None = None,
) -> Command:
    """A training on frames and masks, of which something is changed."""
    data = write_folder_data(place.folder / "mine", mask)
    change(place.folder / "mine")
    return place.fit(*words, data=data)


def of_value(*values: int) -> Callable[[int], np.ndarray]:
    """Masks that hold some values side by side."""
    return lambda number: np.repeat(np.uint8(values), WIDTH // len(values))[None].repeat(HEIGHT, 0)


def cityscapes(place: Place, change: CHANGE, *words: str) -> Command:
    """A training on streets in the layout of Cityscapes, of which something is changed."""
    root = place.copy("streets", "city")
    for name in ("settings.json", "finished", ".lock"):
        (root / name).unlink(missing_ok=True)
    shutil.rmtree(root / "truth")
    change(root)
    return place.fit(*words, data=["--data=Cityscapes", f"--data.root={root}"])


def as_train_ids(root: Path) -> None:
    """Train ids in the files of label ids."""
    for file in root.glob("gtFine/*/*/*_labelIds.png"):
        labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        write_png(file, np.where(labels == 0, 255, labels % 19).astype(np.uint8))


def unlabelled(root: Path) -> None:
    """No labelled pixel in the training split."""
    for file in root.glob("gtFine/train/*/*_labelIds.png"):
        write_png(file, np.zeros((64, 128), np.uint8))


def turned(orientation: int) -> CHANGE:
    """Frames that their EXIF marks as lying."""

    def change(root: Path) -> None:
        for file in list(root.glob("*/frames/a/*.png")):
            picture = cv2.imread(str(file))
            data = cv2.imencode(".jpg", picture)[1].tobytes()
            exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"
            exif += bytes([orientation]) + b"\0\0\0\0\0\0"
            head = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
            file.with_suffix(".jpg").write_bytes(data[:2] + head + data[2:])
            file.unlink()

    return change


def vid(place: Place, change: CHANGE = lambda root: None, *words: str) -> Command:
    """A training on videos in the layout of ImageNet VID."""
    root = place.folder / "vid"
    write_video(root, "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000", 6)
    write_video(root, "val/ILSVRC2015_val_00000000", 6)
    change(root)
    flags = ["--data=ImageNetVID", f"--data.root={root}", "--data.train_sets=[VID_train]"]
    flags += ["--data.short_side=80", "--data.max_side=112", "--model.heads={detection: 1.0}"]
    command = place.fit(*words, data=[*flags, "--model.num_box_classes=30"])
    command.env["DFF_CACHE"] = str(place.folder / "cache")
    return command


def renamed(suffix: str) -> CHANGE:
    def change(root: Path) -> None:
        for file in list(root.glob("Data/**/*.JPEG")):
            picture = cv2.imread(str(file))
            cv2.imwrite(str(file.with_suffix(suffix)), picture)
            file.unlink()

    return change


def removed(pattern: str) -> CHANGE:
    def change(root: Path) -> None:
        found = list(root.glob(pattern))
        assert found
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def written(pattern: str, content: bytes) -> CHANGE:
    def change(root: Path) -> None:
        found = sorted(root.glob(pattern))
        assert found
        found[0].write_bytes(content)

    return change


def shortened(pattern: str) -> CHANGE:
    return lambda root: [cut(path, 0.6) for path in sorted(root.glob(pattern))]


def other_data(place: Place) -> Command:
    data = write_folder_data(place.folder / "mine")[:2]
    words = place.evaluate(model=place.shared / "street_model.ckpt").words
    kept = [w for w in words if not w.startswith("--data")]
    return place.command(*kept, *data, "--data.num_workers=0")


DATA = [
    Fault(
        "no data at all",
        lambda p: p.fit(data=["--data=Cityscapes", "--data.root=nowhere"]),
        "no folder nowhere.*--data.root",
    ),
    Fault(
        "no sequences of Cityscapes",
        partial(cityscapes, change=removed("leftImg8bit_sequence")),
        "leftImg8bit",
    ),
    Fault("no labels of Cityscapes", partial(cityscapes, change=removed("gtFine")), "gtFine"),
    Fault(
        "train ids as label ids",
        partial(cityscapes, change=as_train_ids),
        "no id above 18|label ids",
    ),
    Fault("no labelled pixel", partial(cityscapes, change=unlabelled), "train.*label|label.*train"),
    Fault(
        "a label file that is cut",
        partial(cityscapes, change=shortened("gtFine/train/*/*_labelIds.png")),
        r"labelIds\.png .*(cut short|damaged)",
    ),
    Fault(
        "a frame that is cut",
        partial(cityscapes, change=shortened("leftImg8bit_sequence/train/*/*.jpg")),
        r"leftImg8bit\.jpg .*(cut short|damaged)",
    ),
    Fault(
        "no classes",
        partial(own_data, change=removed("classes.txt")),
        r"no .*classes\.txt: write one",
    ),
    Fault(
        "a class named twice",
        partial(own_data, change=written("classes.txt", b"road\nroad\n")),
        "a class twice: road; rename",
    ),
    Fault(
        "classes in another encoding",
        partial(own_data, change=written("classes.txt", "straße\ncar\n".encode("latin-1"))),
        "no UTF-8 text",
    ),
    Fault(
        "no class",
        partial(own_data, change=written("classes.txt", b"\n")),
        "names 0 classes: want 1",
    ),
    Fault(
        "a colour that is none",
        partial(own_data, change=written("classes.txt", b"road 1 2 999\ncar\n")),
        "a colour is r g b",
    ),
    Fault(
        "no frames",
        partial(own_data, change=removed("train/frames/a/*.png")),
        "no .png, .jpg or .jpeg frames",
    ),
    Fault(
        "no masks",
        partial(own_data, change=removed("train/masks/a/*.png")),
        "no mask in .*masks belongs",
    ),
    Fault(
        "a class that is none",
        partial(own_data, mask=of_value(0, 1, 2)),
        r"holds .*2.*classes\.txt",
    ),
    Fault("masks of 0 and 255", partial(own_data, mask=of_value(0, 255)), "255"),
    Fault("masks of 255 alone", partial(own_data, mask=of_value(255)), "255|labelled"),
    Fault(
        "a mask of another size",
        partial(
            own_data,
            change=lambda root: [
                write_png(f, np.zeros((32, 32), np.uint8)) for f in root.glob("train/masks/a/*")
            ],
        ),
        "labels of another size",
    ),
    Fault(
        "a mask in colours",
        partial(
            own_data,
            change=lambda root: [
                write_png(f, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
                for f in root.glob("train/masks/a/*")
            ],
        ),
        "several channels",
    ),
    Fault("frames turned by 90 degrees", partial(own_data, change=turned(6)), "EXIF", code=(0, 1)),
    Fault("frames turned by 180 degrees", partial(own_data, change=turned(3)), "EXIF"),
    Fault(
        "a frame that is text",
        partial(own_data, change=written("train/frames/a/*.png", b"version https://git-lfs")),
        "is not an image",
    ),
    Fault(
        "loader processes that meet a cut frame",
        lambda p: own_data(p, shortened("train/frames/a/*"), "--data.num_workers=2"),
        r"\.png .*(cut short|damaged)",
    ),
    Fault(
        "cut frames passed over until none is left",
        lambda p: own_data(p, shortened("train/frames/a/*"), "--data.skip_damaged=true"),
        "10 samples in a row cannot be used",
    ),
    Fault(
        "no videos of ImageNet VID", partial(vid, change=removed("Data")), "Data.*data.root|Data"
    ),
    Fault(
        "no annotations of ImageNet VID",
        partial(vid, change=removed("Annotations")),
        "Annotations|annot",
    ),
    Fault(
        "an annotation that is cut",
        partial(vid, change=shortened("Annotations/VID/train/**/*.xml")),
        r"\.xml.*cut short or no XML",
    ),
    Fault(
        "an annotation that swells",
        partial(
            vid,
            change=written(
                "Annotations/VID/train/**/*.xml", b"<!DOCTYPE a [<!ENTITY a 'b'>]><a>&a;</a>"
            ),
        ),
        "declares a document type",
    ),
    Fault(
        "a box outside its frame",
        partial(
            vid,
            change=written(
                "Annotations/VID/train/**/*.xml", annotation([(0, 0, (200, 1, 220, 5))]).encode()
            ),
        ),
        "a box outside its image",
    ),
    Fault(
        "frames of ImageNet VID as .jpg",
        partial(vid, change=renamed(".jpg")),
        code=0,
        kept=("run/*/checkpoints/last.ckpt",),
    ),
    Fault(
        "frames of ImageNet VID as .png",
        partial(vid, change=renamed(".png")),
        code=0,
        kept=("run/*/checkpoints/last.ckpt",),
    ),
    Fault(
        "data of other classes", other_data, r"19 classes and the data 2 (?!.*--model\.num_classes)"
    ),
]
