"""pt2: compiled by AOTInductor, for this machine."""

import shutil

import pytest
import torch
from exports import CLASSES, small
from networks import SIZE

from dff.inference.export.comparison.frames import moving_frames
from dff.inference.export.description import takes
from dff.inference.export.export import Wish, export, sizes_to_check
from dff.inference.export.formats import open_graphs
from dff.inference.export.networks import exported_networks
from dff.inference.recognizer import recognize_frames
from dff.models.schedule import FixedSchedule


@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a C++ compiler")
@torch.inference_mode()
def test_the_engine_gives_the_same_on_what_was_compiled(tmp_path):
    model, tasks, settings = small(tmp_path)
    export(model, tasks, settings, tmp_path / "out", Wish("pt2", SIZE), str)
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        *("key.pt2", "current.pt2", "export.json"),
    }
    graphs = open_graphs(tmp_path / "out", "pt2")
    networks, found = exported_networks(graphs)
    assert found["segmentation"].classes == CLASSES
    video = torch.cat(moving_frames(5, SIZE, seed=3))
    own, other = (recognize_frames(m, video, FixedSchedule(3)) for m in (model, networks))
    labels, wanted = other.predictions["segmentation"], own.predictions["segmentation"]
    assert (labels == wanted).float().mean() > 0.999 and len(wanted.unique()) > 1
    # compiled code would write beyond its memory
    with pytest.raises(
        ValueError, match="frames of 80 x 96 pixels for an export in pt2 that takes"
    ):
        networks.encode(torch.rand(1, 3, 80, 96))


def test_what_is_no_export_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no key\.pt2 in .*dff export --format pt2"):
        open_graphs(tmp_path, "pt2")
    (tmp_path / "key.pt2").write_text("no graph")
    with pytest.raises(ValueError, match=r"does not take .*key\.pt2 .*export again here"):
        open_graphs(tmp_path, "pt2")


def test_sizes_that_were_compiled_for():
    assert takes("pt2", False, (600, 1000), (600, 1000))
    assert not takes("pt2", False, (600, 1000), (600, 992))
    assert takes("pt2", True, (640, 960), (160, 192))
    assert not takes("pt2", True, (640, 960), (160, 200))
    assert not takes("pt2", True, (640, 960), (128, 192))
    assert takes("onnx", True, (640, 960), (101, 163))
    assert sizes_to_check(Wish("pt2", (640, 992), dynamic=True)) == [(640, 992), (480, 736)]


def test_sizes_that_cannot_be_compiled_are_refused_before_anything_begins(tmp_path):
    model, tasks, settings = small(tmp_path)
    with pytest.raises(ValueError, match=r"--dynamic in pt2: wanted multiples of 32 from 160 on"):
        export(model, tasks, settings, tmp_path / "out", Wish("pt2", (600, 1000), True), str)
