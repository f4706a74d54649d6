import struct

import cv2
import numpy as np
import pytest
from small import DATA

from dff.data.files.flow import read_flow, write_flow
from dff.data.files.images import write_png
from dff.data.samples import SampleError

REAL = DATA / "flow_gt" / "chairs_flownet2" / "0000000-gt.flo"


def flo(path, *numbers, width=2, height=1, tag=202021.25):
    path.write_bytes(struct.pack(f"<fii{len(numbers)}f", tag, width, height, *numbers))
    return path


def ramp():
    return np.arange(24, dtype=np.float32).reshape(3, 4, 2) / 4 - 2


def test_a_flo_is_rows_of_x_and_y(tmp_path):
    flow, known = read_flow(flo(tmp_path / "a.flo", 1, -2, 3.5, 4, 5, 6, 7, 8, width=2, height=2))
    assert flow.dtype == np.float32 and known.dtype == bool and known.all()
    assert flow.tolist() == [[[1, -2], [3.5, 4]], [[5, 6], [7, 8]]]
    flow[0, 0] = 9  # it is the reader's own


def test_values_over_1e9_are_unknown_and_read_as_zero(tmp_path):
    flow, known = read_flow(flo(tmp_path / "a.flo", 1.67e9, 3, -1, -2, 5, float("-inf"), width=3))
    assert known.tolist() == [[False, True, False]]
    assert flow.tolist() == [[[0, 0], [-1, -2], [0, 0]]]


@pytest.mark.parametrize("suffix", [".flo", ".png"])
def test_what_is_written_is_read_again(suffix, tmp_path):
    flow, known = ramp(), np.ones((3, 4), bool)
    flow[0, 1], known[0, 1] = np.nan, False
    write_flow(tmp_path / f"a{suffix}", flow, known)
    again, again_known = read_flow(tmp_path / f"a{suffix}")
    assert (again_known == known).all() and (again[0, 1] == 0).all()
    assert (again[known] == flow[known]).all()
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_flo_that_is_written_has_the_official_bytes(tmp_path):
    write_flow(tmp_path / "a.flo", np.array([[[1.5, -2]]]))
    assert (tmp_path / "a.flo").read_bytes() == b"PIEH" + struct.pack("<iiff", 1, 1, 1.5, -2)


def test_kittis_png_has_x_in_red_y_in_green_and_validity_in_blue(tmp_path):
    red, green, blue = 2**15 + 64, 2**15 - 32, 1
    picture = np.array([[(blue, green, red), (0, 7, 7)]], np.uint16)  # cv2 writes BGR
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    flow, known = read_flow(tmp_path / "a.png")
    assert flow.tolist() == [[[1.0, -0.5], [0, 0]]] and known.tolist() == [[True, False]]
    write_flow(tmp_path / "b.png", flow)
    assert cv2.imread(str(tmp_path / "b.png"), -1)[0, 0].tolist() == [blue, green, red]


def test_a_png_keeps_64ths_and_refuses_what_does_not_fit(tmp_path):
    write_flow(tmp_path / "a.png", np.array([[[0.02, 511.98]]]))
    assert read_flow(tmp_path / "a.png")[0].tolist() == [[[1 / 64, 511.984375]]]
    with pytest.raises(ValueError, match=r"-512 to 511\.98 pixels.*write a \.flo"):
        write_flow(tmp_path / "b.png", np.array([[[0, 512.0]]]))
    assert not (tmp_path / "b.png").exists()


def bad(tmp_path, name):
    path, numbers = tmp_path / "a.flo", (0.0,) * 4
    nan = float("nan")
    return {
        "tag": lambda: flo(path, *numbers, tag=1.0),
        "swapped": lambda: path.write_bytes(b"HEIP" + bytes(24)) and path,
        "short": lambda: flo(path, *numbers[:3]),
        "long": lambda: flo(path, *numbers, 0.0),
        "empty": lambda: path.write_bytes(b"") or path,
        "header": lambda: path.write_bytes(b"PIEH\2\0\0\0") and path,
        "nan": lambda: flo(path, nan, 0, nan, nan),
        "negative": lambda: flo(path, *numbers, width=-2),
        "huge": lambda: flo(path, *numbers, width=10**8),
    }[name]()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tag", r"a\.flo is no \.flo file: it begins with .*b'PIEH' \(the number 202021\.25\)"),
        ("swapped", r"no \.flo file: it begins with b'HEIP'"),
        ("short", r"is cut short: 24 bytes, and 2x1 pixels.*take 28: copy it again"),
        ("long", r"is longer than it says: 32 bytes, and 2x1 pixels.*take 28"),
        ("empty", r"is cut short \(0 bytes, no whole header\)"),
        ("header", r"is cut short \(8 bytes, no whole header\)"),
        ("nan", r"is not a number \(NaN\) in 2 of 2 pixels"),
        ("negative", r"says that it is -2 wide and 1 high: want 1 to 99999"),
        ("huge", r"says that it is 100000000 wide"),
    ],
)
def test_a_damaged_flo_is_one_clear_message(name, said, tmp_path):
    with pytest.raises(SampleError, match=said):
        read_flow(bad(tmp_path, name))


def test_what_is_no_flow_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.flo is missing"):
        read_flow(tmp_path / "a.flo")
    with pytest.raises(FileNotFoundError, match=r"a\.png is missing"):
        read_flow(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.pfm: a flow file ends in \.flo or \.png"):
        read_flow(tmp_path / "a.pfm")
    write_png(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(SampleError, match=r"3 channels of 8 bit: want a PNG with 3 channels of 16"):
        read_flow(tmp_path / "a.png")
    write_png(tmp_path / "a.png", np.zeros((2, 2), np.uint16))
    with pytest.raises(SampleError, match=r"1 channel of 16 bit"):
        read_flow(tmp_path / "a.png")
    write_flow(tmp_path / "a.png", ramp())
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-20])
    with pytest.raises(SampleError, match=r"a\.png is cut short"):
        read_flow(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("flow", "known", "said"),
    [
        (np.zeros((3, 4)), None, r"flow of shape \(3, 4\).*want \(H, W, 2\)"),
        (np.zeros((2, 3, 4)), None, r"flow of shape \(2, 3, 4\)"),
        (np.zeros((3, 4, 2)), np.ones((4, 3)), r"known of shape \(4, 3\).*want \(3, 4\)"),
        (np.full((1, 2, 2), np.nan), None, r"not a number, or over 1e9, in 2 pixels"),
        (np.full((1, 2, 2), 2e9), None, r"in 2 pixels; mark them as not known"),
    ],
)
def test_what_cannot_be_written_is_said_and_not_written(flow, known, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        write_flow(tmp_path / "a.flo", flow, known)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not REAL.is_file(), reason=f"no real flow at {REAL}: set DFF_SHARED")
def test_a_real_flo_is_read_and_written_byte_by_byte(tmp_path):
    flow, known = read_flow(REAL)
    assert flow.shape == (384, 512, 2) and known.all()
    assert flow[0, 0].tolist() == [-19.5, 13.75]
    write_flow(tmp_path / "a.flo", flow)
    assert (tmp_path / "a.flo").read_bytes() == REAL.read_bytes()
