"""What people type, and files that are not what a command wants: told before any work."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

from place import Fault, Place, cut, write_clip, write_frames
from warm import Command

LONG = "/".join(["x" * 199] * 20)
"""A path of 4,000 characters."""


class Trap:
    """Unpickled, it would run a command."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __reduce__(self) -> tuple:
        return (os.mkdir, (self.file,))


def trap(place: Place) -> Command:
    file = place.folder / "trap.ckpt"
    file.write_bytes(pickle.dumps({"state_dict": Trap(place.folder / "sprung")}))
    return place.predict(place.clip, model=file)


def not_sprung(place: Place) -> None:
    assert not (place.folder / "sprung").exists()


def written(name: str, content: bytes) -> Callable[[Place], Command]:
    """A file of these bytes in place of the checkpoint."""

    def make(place: Place) -> Command:
        (place.folder / name).write_bytes(content)
        return place.predict(place.clip, model=name)

    return make


def safetensors() -> bytes:
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


def cut_checkpoint(place: Place) -> Command:
    return place.predict(place.clip, model=cut(place.copy("model.ckpt"), 0.7))


def flipped_checkpoint(place: Place) -> Command:
    file = place.copy("model.ckpt")
    with file.open("r+b") as stream:  # the directory at the end of the archive
        stream.seek(-200, os.SEEK_END)
        stream.write(bytes(60))
    return place.predict(place.clip, model=file)


def colon(place: Place) -> Command:
    write_clip(place.folder / "2024-01-01T12:30:00.mp4")
    return place.predict("2024-01-01T12:30:00.mp4")


def dash(place: Place) -> Command:
    write_clip(place.folder / "-clip.mp4")
    options = place.predict().words[:-1]
    return place.command(*options, "--", place.model, "-clip.mp4")


def dash_alone(place: Place) -> Command:
    write_clip(place.folder / "-clip.mp4")
    return place.predict("-clip.mp4")


def pipe(place: Place) -> Command:
    """Opened, it would wait for ever."""
    os.mkfifo(place.folder / "pipe.mp4")
    return place.predict("pipe.mp4")


def device(place: Place) -> Command:
    """Read, it would never end."""
    (place.folder / "device.mp4").symlink_to("/dev/zero")
    return place.predict("device.mp4")


def single_image(place: Place) -> Command:
    write_frames(place.folder / "frames")
    return place.predict("frames/000000.png")


def image_beside_folders(place: Place) -> Command:
    write_frames(place.folder / "all" / "drive")
    write_frames(place.folder / "one")
    (place.folder / "one" / "000000.png").rename(place.folder / "all" / "preview.png")
    return place.predict("all")


def empty_folder(place: Place) -> Command:
    (place.folder / "nothing").mkdir()
    return place.predict("nothing")


def linked_to_itself(place: Place) -> Command:
    folder = place.folder / "videos"
    folder.mkdir()
    write_clip(folder / "a.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "again").symlink_to(folder)
    return place.predict("videos")


def output_is_a_file(place: Place) -> Command:
    (place.folder / "out").write_text("mine")
    return place.predict(place.clip)


def untouched(place: Place) -> None:
    assert place.out.read_text() == "mine"


def boxes_list(place: Place) -> Command:
    (place.folder / "boxes.txt").write_text("1 2 three 4 5 6 7\n")
    return place.command("score_detections.py", "boxes.txt", "--boxes", "absent.mat")


def no_ground_truth(place: Place) -> Command:
    (place.folder / "boxes.txt").write_text("1 2 0.3 4 5 6 7\n")
    (place.folder / "truth.mat").write_bytes(b"no truth")
    return place.command("score_detections.py", "boxes.txt", "--boxes", "truth.mat")


def no_params(place: Place) -> Command:
    (place.folder / "a.params").write_bytes(b"\x12\x01" + bytes(30))
    return place.command("convert_weights.py", "a.params", "a.pth")


def real_data(place: Place) -> Command:
    (place.folder / "city" / "gtFine").mkdir(parents=True)
    return place.command("draw_streets.py", "city")


def no_demo(place: Place) -> Command:
    (place.folder / "out").mkdir()
    (place.folder / "out" / "notes").write_text("mine")
    return place.command("demo_flow.py", "--output", "out")


def odd_config(content: str) -> Callable[[Place], Command]:
    def make(place: Place) -> Command:
        (place.folder / "odd.yaml").write_text(content)
        return place.command("fit.py", "--config", "odd.yaml")

    return make


def call(*words: object) -> Callable[[Place], Command]:
    return lambda place: place.command(*words)


def predict(*words: object, **kwargs: object) -> Callable[[Place], Command]:
    return lambda place: place.predict(*(w or place.clip for w in words), **kwargs)


CLIP = None
"""Stands for the good clip."""

USER_ERRORS = [
    Fault("no checkpoint", call("predict.py", "no.ckpt", "x.mp4"), "no checkpoint at no.ckpt: "),
    Fault("no checkpoint to evaluate", call("evaluate.py", "no.ckpt"), "no checkpoint at no.ckpt"),
    Fault("no checkpoint to measure", call("measure_flow.py", "no.ckpt"), "no.ckpt"),
    Fault("no flow to evaluate", call("evaluate_flow.py", "no.ckpt"), r"no\.ckpt"),
    Fault("no video", predict("no.mp4"), r"no video and no folder at 'no\.mp4': check the path"),
    Fault("a pattern of nothing", predict("no/*.mp4"), "nothing matches .*: check the folder"),
    Fault("one image", single_image, "is one image: give its folder"),
    Fault("an image beside folders", image_beside_folders, kept=("*.json",), code=(0, 1)),
    Fault("an empty folder", empty_folder, "no video and no frames in nothing: give a folder"),
    Fault("links in circles", linked_to_itself, code=0, kept=("a.json", "a.mp4", "a/*.png")),
    Fault(
        "an address",
        predict("https://localhost/a.mp4"),
        r"https://localhost/a.mp4 (cannot be used now|wants|.*fsspec)",
    ),
    Fault("standard input", predict("/dev/stdin"), "not a file|save|no video"),
    Fault("a minus for standard input", predict("-"), "file|no video"),
    Fault("a pipe", pipe, r"pipe\.mp4 is a pipe, not a file.*save"),
    Fault("a device", device, r"device\.mp4 is a device, not a file|/dev/zero"),
    Fault("a colon in a name", colon, code=0, kept=("2024-01-01T12_30_00.json",)),
    Fault("a minus before a name", dash, code=0, kept=("-clip.json",)),
    Fault("a minus before a name, bare", dash_alone, r"\./-clip\.mp4|--", code=2),
    Fault(
        "a checkpoint that is text", written("a.ckpt", b"no checkpoint"), r"a\.ckpt .*: (give|copy)"
    ),
    Fault("an empty checkpoint", written("a.ckpt", b""), r"a\.ckpt .*: (give|copy)"),
    Fault("safetensors", written("a.safetensors", safetensors()), r"dff convert"),
    Fault("MXNet's weights", written("a.params", b"\x12\x01" + bytes(99)), r"dff convert"),
    Fault("a cut checkpoint", cut_checkpoint, r"model\.ckpt .*: (give|copy)"),
    Fault("a checkpoint with a hole", flipped_checkpoint, r"model\.ckpt .*: (give|copy)"),
    Fault("a checkpoint that runs code", trap, r"trap\.ckpt .*: (give|copy)", after=not_sprung),
    Fault(
        "a checkpoint of a flow network",
        lambda p: p.predict(p.clip, model=p.shared / "flow.ckpt"),
        "a flow network's checkpoint: give",
    ),
    Fault(
        "weights alone",
        lambda p: p.predict(p.clip, model=p.shared / "weights.ckpt"),
        r"weights\.ckpt .*: give",
    ),
    Fault(
        "weights of another width",
        lambda p: p.predict(p.clip, model=p.shared / "wide.ckpt"),
        r"wide\.ckpt does not fit",
    ),
    Fault(
        "weights that are NaN",
        lambda p: p.predict(p.clip, model=p.shared / "nan.ckpt"),
        "NaN|not finite",
    ),
    Fault(
        "a compiled model's names",
        lambda p: p.predict(p.clip, model=p.shared / "compiled.ckpt"),
        code=0,
        kept=("clip.json",),
    ),
    Fault("a key duration of 0", predict(CLIP, "--key_duration=0"), "key duration 0: wanted"),
    Fault("a side that is too small", predict(CLIP, "--short_side=8"), "short side of 8"),
    Fault("a max_side side alone", predict(CLIP, "--max_side=80"), "max_side 80 with short_side"),
    Fault("no number of devices", predict(CLIP, "--devices=x"), "wanted a number, auto", code=2),
    Fault(
        "Cityscapes' ids of other classes",
        predict(CLIP, "--labels=cityscapes"),
        "--labels cityscapes: this model has other classes; use",
    ),
    Fault(
        "an output folder that is a file",
        output_is_a_file,
        "out is a file, and --output wants a folder",
        after=untouched,
    ),
    Fault(
        "an output folder below a file",
        lambda p: p.command("predict.py", p.model, p.clip, "--output", p.clip + "/out"),
        "is a file, and --output wants a folder",
    ),
    Fault("a video's path of 4,000 characters", predict(LONG), "no video and no folder|too long"),
    Fault(
        "a checkpoint's path of 4,000 characters",
        predict(CLIP, model=LONG),
        "no checkpoint at|too long",
    ),
    Fault(
        "an output's path of 4,000 characters",
        lambda p: p.command("predict.py", p.model, p.clip, "--output", LONG),
        "cannot write to|too long",
        code=(0, 1),  # a relative one of 4,000 may be within the system's limit of 4,096
    ),
    Fault(
        "a config's path of 4,000 characters",
        call("fit.py", "--config", LONG),
        "x{99}|too long",
        code=(1, 2),
    ),
    Fault(
        "data at a path of 4,000 characters",
        lambda p: p.fit(data=["--data=Cityscapes", f"--data.root={LONG}"]),
        "no folder|too long",
    ),
    Fault(
        "streets at a path of 4,000 characters",
        call("draw_streets.py", LONG),
        "cannot write the drawn streets|too long",
    ),
    Fault("streets into real data", real_data, ", which is not drawn: choose another"),
    Fault(
        "streets of no frame", call("draw_streets.py", "a", "--frames", "0"), "frames=0: it must be"
    ),
    Fault(
        "a demo into somebody's folder",
        no_demo,
        "holds no demo: choose a new folder",
        kept=("notes",),
    ),
    Fault(
        "a benchmark of no key frame",
        call("benchmark.py", "--key_durations", "0"),
        "key duration 0",
    ),
    Fault("a benchmark of small frames", call("benchmark.py", "--size", "32", "96"), "at least 64"),
    Fault(
        "a benchmark on an abacus",
        call("benchmark.py", "--device", "abacus"),
        "device 'abacus' is none of",
    ),
    Fault("a benchmark of no pair", call("benchmark_data.py", "--pairs", "0"), "wanted at least 1"),
    Fault("detections that are none", boxes_list, r"boxes\.txt is no list of detections"),
    Fault("a ground truth that is none", no_ground_truth, r"truth\.mat"),
    Fault("MXNet's weights that are none", no_params, r"a\.params"),
    Fault("no config", call("fit.py", "--config", "absent.yaml"), r"absent\.yaml", code=(1, 2)),
    Fault(
        "a config that is no YAML",
        odd_config("a: [1, {"),
        "odd.yaml|YAML|yaml|parse|flow",
        code=(1, 2),
    ),
    Fault(
        "a setting that is no more",
        odd_config(
            "model: {class_path: LitDFF, init_args: {lerning_rate: 1}}\ndata: {class_path: Streets}"
        ),
        "lerning_rate",
        code=(1, 2),
    ),
    Fault(
        "no run to go on with",
        call("fit.py", "--ckpt_path", "last", "--name", "never"),
        r"no last\.ckpt below",
    ),
    Fault(
        "a reproduction of no config",
        call("reproduce.py", "--config", "absent.yaml"),
        r"absent\.yaml",
        code=(1, 2),
    ),
    Fault(
        "a reproduction of no seed",
        lambda p: p.command("reproduce.py", "--config", "reproduce_demo", "--seeds", "0"),
        "--seeds 0: wanted at least 1",
    ),
]
"""What every command says of what it was given."""
