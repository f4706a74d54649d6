"""What is fuzzed: small whole files, and the readers that people's files meet."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from place import write_clip
from vid_layout import annotation, write_boxes

from dff.data.datasets.cityscapes import read_instance_boxes, read_train_ids
from dff.data.datasets.folder import read_classes
from dff.data.datasets.imagenet_vid.annotations import read_annotation
from dff.data.datasets.imagenet_vid.ground_truth import read_vid_ground_truth
from dff.data.datasets.imagenet_vid.index import load_index
from dff.data.datasets.imagenet_vid.lists import wanted_frames
from dff.data.files.flow import read_flow, write_flow
from dff.data.files.images import read_image, read_labels
from dff.data.synthetic.streets.dataset import StreetSettings, draw_streets
from dff.data.synthetic.streets.truth import StreetTruth
from dff.data.video.sources import open_video
from dff.lit.checkpoints import check_continued, load_flow_network, load_model
from dff.models.weights.load import read_state_dict
from dff.models.weights.mxnet import read_params, write_params


@dataclass(frozen=True)
class Reader:
    """A reader and a good file for it.

    Args:
        name: The file's; its suffix counts.
        make: Writes the good file.
        read: Reads a file all through.
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def read_video(path: Path) -> None:
    video = open_video(path)
    count = sum(1 for _ in islice(video, 40))
    if count:
        video.read([0, count - 1])


def clip(codec: str, **options: str) -> Callable[[Path], object]:
    return lambda path: write_clip(path, codec, 10, options=options)


def gif(path: Path) -> None:
    import av

    from dff.data.video.writer import same_scheduling

    with av.open(str(path), "w") as file:
        stream = file.add_stream("gif", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "rgb8"
        with same_scheduling():
            file.start_encoding()
        for number in range(6):
            picture = np.full((64, 96, 3), 30 * number, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))


def picture(suffix: str, channels: int = 3, dtype: type = np.uint8) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        rng = np.random.default_rng(0)
        shape = (24, 32, 3) if channels == 3 else (24, 32)
        pixels = rng.integers(0, 34, shape).astype(dtype)
        path.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())

    return make


def flow(path: Path) -> None:
    rng = np.random.default_rng(0)
    write_flow(path, rng.normal(0, 3, (12, 16, 2)).astype(np.float32))


def xml(path: Path) -> None:
    path.write_text(annotation([(0, 0, (5, 6, 70, 60)), (8, 1, (0, 0, 90, 10))]))


def video_list(path: Path) -> None:
    path.write_text("".join(f"val/ILSVRC2015_val_0000000{n} {9 * n + 1} 0 9\n" for n in range(3)))


def frame_list(path: Path) -> None:
    names = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
    path.write_text("".join(f"{names} 1 {n} 90\n" for n in range(6)))


def read_list(path: Path) -> None:
    """A list has its name from its place."""
    wanted_frames(path.parents[1], [path.stem])


def classes(path: Path) -> None:
    path.write_text("road 128 64 128\ntraffic sign 220 220 0\neverything else\n")


def ground_truth(path: Path) -> None:
    write_boxes(path, [[1, 2], [], [3]], [[(1, 2, 30, 40), (3, 4, 50, 60)], [], [(5, 6, 7, 8)]])


def truth(path: Path) -> None:
    root = draw_streets(path.parent / "s", StreetSettings(1, 0, 2, 1, 32, 64), workers=1)
    path.write_bytes((root / "truth" / "train" / "streets_000000.npz").read_bytes())


def read_truth(path: Path) -> None:
    known = StreetTruth(str(path))
    known.flow(1, 0)
    known.boxes(0)


def index(path: Path) -> None:
    arrays = {"a": np.arange(20), "b": np.zeros((3, 4), np.float32), "c": np.array(["x", "yy"])}
    np.savez(path, **arrays)


def read_index(path: Path) -> None:
    """A cache: what cannot be read is None, and made again."""
    load_index(path)


def parameters(path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("arg:conv1_weight", "aux:bn_conv1_moving_mean")
    write_params(path, {name: rng.random((4, 3), np.float32) for name in names})


def tensors(zipped: bool = True) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        state = {"conv1.weight": torch.zeros(4, 3, 3, 3), "fc.bias": torch.ones(7)}
        torch.save(state, path, _use_new_zipfile_serialization=zipped)

    return make


def checkpoint(path: Path) -> None:
    settings = {"feature_network": "resnet18", "flow_network": "flownet_half"}
    kept = {"loops": {}, "optimizer_states": [], "lr_schedulers": [], "global_step": 3}
    state = {"model.a": torch.zeros(3, 4)}
    torch.save({"hyper_parameters": settings, "state_dict": state, **kept}, path)


def read_as_model(path: Path) -> None:
    """It is of no model, so it must be refused in any case; and by each reader."""
    for read in (load_model, lambda p: load_flow_network("flownet_half", p)):
        try:
            read(path)
        except (ValueError, FileNotFoundError) as error:
            told = error
    check_continued(path, "LitDFF")
    raise told


def safetensors(path: Path) -> None:
    import json

    header = {"conv1.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    path.write_bytes(io.BytesIO(len(text).to_bytes(8, "little") + text + bytes(24)).getvalue())


READERS = (
    Reader("h264.mp4", clip("libx264"), read_video),
    Reader("hevc.mp4", clip("libx265", **{"x265-params": "log-level=none"}), read_video),
    Reader("h264.mkv", clip("libx264"), read_video),
    Reader("vp9.webm", clip("libvpx-vp9", deadline="realtime", **{"cpu-used": "8"}), read_video),
    Reader("mpeg4.avi", clip("mpeg4"), read_video),
    Reader("mpeg4.mov", clip("mpeg4"), read_video),
    Reader("h264.ts", clip("libx264"), read_video),
    Reader("mpeg2.mpg", clip("mpeg2video"), read_video),
    Reader("mjpeg.avi", clip("mjpeg"), read_video),
    Reader("frames.gif", gif, read_video),
    Reader("frame.png", picture(".png"), read_image),
    Reader("frame.jpg", picture(".jpg"), read_image),
    Reader("frame_16.png", picture(".png", 3, np.uint16), read_image),
    Reader("labels.png", picture(".png", 1), read_labels),
    Reader("a_gtFine_labelIds.png", picture(".png", 1), read_train_ids),
    Reader("a_gtFine_instanceIds.png", picture(".png", 1, np.uint16), read_instance_boxes),
    Reader("flow.flo", flow, read_flow),
    Reader("flow.png", flow, read_flow),
    Reader("000001.xml", xml, read_annotation),
    Reader("ImageSets/VID_val_videos.txt", video_list, read_list),
    Reader("ImageSets/VID_train_15frames.txt", frame_list, read_list),
    Reader("classes.txt", classes, lambda path: read_classes(path.parent)),
    Reader("truth.mat", ground_truth, read_vid_ground_truth),
    Reader("streets_000000.npz", truth, read_truth),
    Reader("index.npz", index, read_index),
    Reader("mxnet.params", parameters, read_params),
    Reader("weights.params", parameters, read_state_dict),
    Reader("weights.pth", tensors(), read_state_dict),
    Reader("old.pth", tensors(zipped=False), read_state_dict),
    Reader("weights.safetensors", safetensors, read_state_dict),
    Reader("last.ckpt", checkpoint, read_as_model),
)
"""Each reader with a good file of its own."""
