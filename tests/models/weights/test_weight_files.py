"""Files where weights or a checkpoint are wanted, as people have them."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from dff.commands.convert import main as convert_weights
from dff.models.backbones.resnet import ResNet
from dff.models.weights.files import check_finite, plain_names, read_torch
from dff.models.weights.load import load_heads, load_weights
from dff.models.weights.mxnet import write_params
from dff.models.weights.safetensors import read_safetensors


def write_safetensors(path, tensors):
    """As the format's own library writes it."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    names |= {torch.int64: "I64", torch.uint8: "U8"}
    header, parts, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, value in tensors.items():
        parts.append(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        place = [at, at + len(parts[-1])]
        header[name] = {
            "dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": place,
        }  # fmt: skip
        at = place[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return path


def pickled_module(path):
    torch.save(nn.Conv2d(1, 1, 1), path)


def torchscript(path):
    torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4)).save(path)


def archive_of(name):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "{}")

    return write


def cut_short(path):
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def old_and_cut_short(path):
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:500])


def of_another_program(path):
    class Settings:
        pass

    Settings.__module__, Settings.__qualname__ = "os", "DirEntry"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "DirEntry", Settings)
        path.write_bytes(pickle.dumps({"args": Settings()}, protocol=2))


ODD = {
    "folder": (lambda p: p.mkdir(), "a folder", "give the file in it"),
    "empty": (lambda p: p.touch(), "empty", "copy or download it again"),
    "lfs": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "a Git LFS pointer",
        "git lfs pull",
    ),
    "page": (lambda p: p.write_text("\n<!DOCTYPE html><html>"), "a web page", "download the file"),
    "text": (lambda p: p.write_text("épochs: 3\n" * 99), "text that begins 'épochs", "CURE"),
    "keras": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file", "CURE"),
    "numpy": (lambda p: np.save(p.open("wb"), np.zeros(3)), "a NumPy array", "CURE"),
    "onnx": (
        lambda p: p.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.9.0:" + bytes(range(200))),
        "an ONNX graph",
        "CURE",
    ),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08" + bytes(99)), "an archive", "unpack it"),
    "zip": (archive_of("config.json"), "an archive that holds config.json", "CURE"),
    "script": (torchscript, "a TorchScript program", "the checkpoint that it was made from"),
    "module": (pickled_module, r"torch\.nn\.modules\.conv\.Conv2d", r"network\.state_dict\(\)"),
    "program": (of_another_program, r"an object os\.DirEntry", r"network\.state_dict\(\)"),
    "cut": (cut_short, "cut short or damaged", "copy or download it again"),
    "old": (old_and_cut_short, "damaged, cut short", "CURE"),
    "noise": (lambda p: p.write_bytes(bytes(range(128, 256))), "damaged, cut short", "CURE"),
    "params": (lambda p: write_params(p, {"a": np.zeros(3, "f4")}), "weights of MXNet", "CONVERT"),
    "safetensors": (
        lambda p: write_safetensors(p, {"a": torch.zeros(3)}),
        "weights as safetensors",
        "CONVERT",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_a_file_is_and_its_cure(tmp_path, kind):
    write, what, cure = ODD[kind]
    file = tmp_path / "model.ckpt"
    write(file)
    with pytest.raises(ValueError) as told:
        read_torch(file, "a checkpoint", "CURE", "CONVERT")
    assert told.match(rf"model\.ckpt cannot be read as a checkpoint \(.*{what}.*\): .*{cure}")
    assert "weights_only" not in str(told.value) and "\n" not in str(told.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*gone\.ckpt: CURE"):
        read_torch(tmp_path / "gone.ckpt", "a checkpoint", "CURE")


TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.arange(3).half(),
    "c": torch.full((1, 2), 1.5).bfloat16(),
    "n": torch.tensor(7),
    "none": torch.zeros(0, 3),
    "u": torch.arange(5, dtype=torch.uint8),
}


def test_safetensors_are_read_as_they_were_written(tmp_path):
    read = read_safetensors(write_safetensors(tmp_path / "a", TENSORS))
    assert list(read) == list(TENSORS)
    for name, value in TENSORS.items():
        assert read[name].dtype == value.dtype and torch.equal(read[name], value)


def test_damaged_safetensors_are_refused_by_name(tmp_path):
    whole = write_safetensors(tmp_path / "whole", TENSORS).read_bytes()
    wrong = [whole[:size] for size in range(9, len(whole), 13)]
    wrong += [whole.replace(b'"F32"', b'"F99"'), whole.replace(b'"F32"', b'"F64"')]
    wrong += [whole.replace(b"[0, 24]", b"[9, 24]"), whole.replace(b"[0, 24]", b"[-1, 3]")]
    wrong += [whole.replace(b"[2, 3]", b'["x",]'), whole.replace(b"{", b"[", 1)]
    for data in wrong:
        (tmp_path / "a.safetensors").write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.safetensors cannot be read as safetensors: .*ag"):
            read_safetensors(tmp_path / "a.safetensors")


def test_a_network_takes_safetensors_and_wrapped_names(tmp_path):
    network = ResNet(18, channels=16)
    state = {k: v + 1 if v.is_floating_point() else v for k, v in network.state_dict().items()}
    kept = write_safetensors(tmp_path / "a.safetensors", state)
    load_weights(network, kept)
    assert torch.equal(network.conv1.weight, state["conv1.weight"])
    wrapped = {f"module.model._orig_mod.feature_network.{k}": v + 1 for k, v in state.items()}
    torch.save({"state_dict": wrapped}, tmp_path / "b.ckpt")
    load_weights(network, tmp_path / "b.ckpt")
    assert torch.equal(network.conv1.weight, state["conv1.weight"] + 1)


def test_names_are_those_without_wrappers():
    names = ["_orig_mod.model.a", "module.model._orig_mod.b.weight", "model.b._orig_mod", "a.c"]
    assert list(plain_names(dict.fromkeys(names))) == [
        "model.a",
        "model.b.weight",
        "model.b",
        "a.c",
    ]


@pytest.mark.parametrize("value, what", [(float("nan"), "NaN"), (-float("inf"), "infinite num")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value, what):
    network, path = ResNet(18, channels=16), tmp_path / "a.pth"
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    broken = {**before, "layer1.0.conv1.weight": before["layer1.0.conv1.weight"] * value}
    torch.save({**broken, "fc.weight": torch.full((3,), value)}, path)
    told = rf"a\.pth holds {what}.* in layer1\.0\.conv1\.weight, .*diverged; take an earlier"
    with pytest.raises(ValueError, match=told):  # of what is not taken nothing is said
        load_weights(network, path)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    with pytest.raises(ValueError, match="in b and 1 other tensors"):
        check_finite({"n": torch.tensor(3), "b": torch.tensor(value), "c": torch.tensor(value)}, "")
    heads = nn.ModuleDict({"segmentation": nn.Conv2d(2, 1, 1)})
    state = {k: v * value for k, v in heads.state_dict().items()}
    torch.save({f"heads.{name}": tensor for name, tensor in state.items()}, path)
    with pytest.raises(ValueError, match=r"in heads\.segmentation\.weight and 1 other"):
        load_heads(heads, path)


def test_the_script_takes_our_names_from_safetensors(tmp_path, capsys):
    state = {"model._orig_mod.feature_network.conv1.weight": torch.ones(4), "step": torch.ones(1)}
    source, target = write_safetensors(tmp_path / "a.safetensors", state), tmp_path / "a.pth"
    assert convert_weights([str(source), str(target)]) == 0
    assert "1 arrays used, 1 left over" in capsys.readouterr().out
    assert list(torch.load(target, weights_only=True)) == ["feature_network.conv1.weight"]
