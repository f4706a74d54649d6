import numpy as np
import pytest
import scipy.io
from small import SHARED
from vid_layout import cells

from dff.data.files.mat import read_mat

VID = SHARED / "data" / "vid_mini"
REAL = sorted(VID.glob("*.mat"))


def assert_same(ours, theirs):
    assert ours.shape == theirs.shape
    if theirs.dtype == object:
        for a, b in zip(ours.flat, theirs.flat, strict=True):
            assert_same(a, b)
    else:
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


@pytest.mark.parametrize("packed", [False, True])
def test_numbers_and_cells_are_those_of_scipy(packed, tmp_path):
    rng = np.random.default_rng(0)
    kinds = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8")
    content = {f"v_{kind}": rng.integers(0, 99, (3, 4)).astype(kind) for kind in kinds}
    content |= {"one": np.uint8([[7]]), "none": np.zeros((1, 0)), "deep": np.zeros((2, 3, 2))}
    content["cells"] = cells([np.ones((2, 3)), np.uint8([[1]]), np.zeros((0, 0)), [[2.5]]], (2, 2))
    content["deep_cells"] = cells([content["cells"], np.ones((1, 1))], (1, 2))
    content["text"] = "passed over"
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, content, do_compression=packed)
    theirs = scipy.io.loadmat(path)
    wanted = content.keys() - {"text"}
    ours = read_mat(path, wanted | {"absent"})
    assert ours.keys() == wanted
    for name in wanted:
        assert_same(ours[name], theirs[name])
    with pytest.raises(ValueError, match="class 4, and numbers or cells were wanted"):
        read_mat(path, ["text"])


@pytest.mark.skipif(not REAL, reason=f"no ground truth at {VID}: set DFF_SHARED")
def test_the_authors_files_are_those_of_scipy():
    for path in REAL:
        theirs = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        ours = read_mat(path, theirs.keys())
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert_same(ours[name], value)


def test_what_is_no_whole_file_is_refused(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"a": cells([np.ones((2, 3))] * 4, (1, 4))})
    data = path.read_bytes()
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        if length != 128:  # a file without a variable
            with pytest.raises(ValueError, match=r"\w"):
                read_mat(path, ["a"])
    path.write_bytes(data.replace(bytes([14, 0, 0, 0]), bytes([3, 0, 0, 0])))
    with pytest.raises(ValueError, match="kind 3 where a variable was expected"):
        read_mat(path, ["a"])


def test_a_small_file_does_not_unpack_to_all_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"a": np.zeros((100, 1000))}, do_compression=True)
    monkeypatch.setattr("dff.data.files.mat._MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="its packed part has no end"):
        read_mat(path, ["a"])
