"""Files that hold weights: what a file is, and what is in it. Nothing in a file is executed."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dff.models.weights.mxnet import is_params
from dff.models.weights.safetensors import is_safetensors

_OLD_SCALE_LAYER = re.compile(r"(flow_network\.)?\bdecoder\.scale\.")
_AGAIN = "copy or download it again, and compare its size"
_WRAPPERS = {"_orig_mod", "module"}
"""What torch.compile and DistributedDataParallel put into the names of what they wrap."""
_HEAD = 512  # bytes by which a file is known
_OTHERS = (
    (b"\x89HDF", "it is an HDF5 file, as Keras writes"),
    (b"GGUF", "it is a GGUF file"),
    (b"\x93NUMPY", "it is a NumPy array"),
)
_ARCHIVES = (b"\x1f\x8b", b"7z\xbc\xaf", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd")


def read_torch(
    path: str | Path, wanted: str, cure: str, of_weights: str = "", mmap: bool = False
) -> Any:
    """What torch.save wrote, as plain tensors and containers.

    Args:
        path: The file.
        wanted: What the file should be, such as "a checkpoint".
        cure: What to do about a file that is something else.
        of_weights: What to do about a file of weights alone, of MXNet or safetensors.
        mmap: Whether tensors stay on disk until they are used, where the file's format can.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file of plain tensors; the message says what it is, and the cure.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no {wanted.removeprefix('a ')} at {path}: {cure}")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's own guesses at what a file is
            mmap = mmap and zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    # bytes that are no checkpoint fail in the unpickler in a dozen ways, and torch's own words
    # advise to run what is in the file
    except Exception as error:
        what, instead = _what_it_is(path, error, of_weights)
        raise ValueError(
            f"{path} cannot be read as {wanted} ({what}): {instead or cure}"
        ) from error


def plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict under today's names, without those that torch.compile and DDP add."""
    named = {".".join(_unwrapped(name.split("."))): value for name, value in state.items()}
    return {current_name(name): value for name, value in named.items()}


def names_within(state: Mapping[str, Any]) -> dict[str, Any]:
    """The same, but for the first part of a name: networks are found behind any prefix."""
    split = {name: name.split(".") for name in state}
    named = {".".join([p[0], *_unwrapped(p[1:])]): state[name] for name, p in split.items()}
    return {current_name(name): value for name, value in named.items()}


def current_name(name: str) -> str:
    """Today's name of a parameter: the scale layer once belonged to the flow network."""
    return _OLD_SCALE_LAYER.sub("scale_layers.0.", name)


def _unwrapped(parts: list[str]) -> list[str]:
    return [part for part in parts if part not in _WRAPPERS]


def check_finite(state: Mapping[str, Any], source: str | Path) -> None:
    """Refuses weights that a training has left as NaN or infinite: their results mean nothing.

    Args:
        state: Name -> tensor; what is none is passed over.
        source: The file, for the message.

    Raises:
        ValueError: A tensor is not finite; the message names the first.
    """
    broken = [
        name
        for name, value in state.items()
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        others = f" and {len(broken) - 1} other tensors" if len(broken) > 1 else ""
        what = "NaN" if state[broken[0]].isnan().any() else "infinite numbers"
        raise ValueError(
            f"{source} holds {what} in {broken[0]}{others}, so all that it finds would be wrong: "
            "the training that wrote it had diverged; take an earlier checkpoint, or train again "
            "with a lower learning rate (--model.lr)"
        )


def _what_it_is(path: Path, error: Exception, of_weights: str) -> tuple[str, str]:
    """Returns what a file is, and what to do about it; "" where that is for the caller to say."""
    if path.is_dir():
        return "it is a folder", "give the file in it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror, ""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        return "it is empty", _AGAIN
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself", "fetch the file with git lfs pull"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page", "download the file itself, not the page that shows it"
    if is_params(path):
        return "it holds weights of MXNet", of_weights
    if is_safetensors(path):
        return "it holds weights as safetensors", of_weights
    if head.startswith(b"PK"):
        return _what_the_archive_is(path, error)
    for mark, what in _OTHERS:
        if head.startswith(mark):
            return what, ""
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return "it is an archive", "unpack it, and give the file in it"
    # ONNX opens with its version and then its producer, or the graph
    if path.suffix.lower() == ".onnx" or (head[0] == 8 and head[2:3] in (b"\x12", b":")):
        return "it is an ONNX graph", ""
    if _is_text(head):
        return f"it is text that begins {head[:24].decode(errors='replace')!r}", ""
    return _what_the_pickle_is(error)


def _what_the_archive_is(path: Path, error: Exception) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):  # of other versions
        return "it is cut short or damaged", _AGAIN
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        return (
            "it is a TorchScript program, which only runs",
            "give the checkpoint that it was made from",
        )
    if not any(name.endswith("data.pkl") for name in names):
        return f"it is an archive that holds {', '.join(names[:2]) or 'nothing'}", ""
    return _what_the_pickle_is(error)


def _what_the_pickle_is(error: Exception) -> tuple[str, str]:
    """What torch's refusal tells: the name of an object that is no plain tensor, if any."""
    if named := re.search(r"GLOBAL (?P<name>[\w.]+)", str(error)):
        return (
            f"it holds an object {named['name']}, which only running code from the file would "
            "make, and no plain tensors alone",
            "where it was made, save the tensors: torch.save(network.state_dict(), FILE)",
        )
    return "it is damaged, cut short, or no file of plain tensors that torch.save wrote", ""


def _is_text(head: bytes) -> bool:
    # the last character may be cut in two
    text = head.decode(errors="ignore")
    return len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)
