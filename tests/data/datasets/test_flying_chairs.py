import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small import DATA

from dff.data.datasets.flying_chairs import PairReader, find_pairs, read_pair, split_pairs
from dff.data.files.flow import write_flow
from dff.data.files.images import write_png
from dff.data.flow_pairs import FlowPairs
from dff.data.samples import SampleError
from dff.data.transforms.flow import FlowTransform

REAL = DATA / "flow_gt"
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no real Flying Chairs at {REAL}: set DFF_SHARED"
)
SIZE = (64, 80)


def picture(value):
    return np.full((*SIZE, 3), value, np.uint8)


def write_chairs(folder, count=1, suffix=".ppm", first=1):
    """Pairs as they are distributed; frame 1 is grey 10 and more, frame 2 grey 100 and more."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        for name, value in (("img1", 10 + number), ("img2", 100 + number)):
            cv2.imwrite(str(folder / f"{number:05d}_{name}{suffix}"), picture(value))
        write_flow(folder / f"{number:05d}_flow.flo", np.full((*SIZE, 2), (number, -1)))
    return folder


def write_flownet2(folder, count=1):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        for name in ("img0", "img1"):
            write_png(folder / f"{number:07d}-{name}.png", picture(0))
        write_flow(folder / f"{number:07d}-gt.flo", np.zeros((*SIZE, 2)))
    return folder


def names(pairs):
    return [Path(pair.current).name for pair in pairs]


def test_the_first_image_is_current_and_the_second_key(tmp_path):
    (pair,) = find_pairs(write_chairs(tmp_path))
    assert [Path(p).name for p in pair] == ["00001_img1.ppm", "00001_img2.ppm", "00001_flow.flo"]
    arrays = read_pair(pair)
    assert (arrays["current"] == 11).all() and (arrays["key"] == 101).all()
    assert arrays["flow"][0, 0].tolist() == [1, -1] and arrays["flow_known"].all()


def test_both_naming_styles_and_the_folder_data(tmp_path):
    write_chairs(tmp_path / "release" / "data", 2)
    assert names(find_pairs(tmp_path / "release")) == ["00001_img1.ppm", "00002_img1.ppm"]
    (pair,) = find_pairs(write_flownet2(tmp_path / "other"))
    assert [Path(p).name for p in pair] == [
        *("0000000-img0.png", "0000000-img1.png", "0000000-gt.flo")
    ]
    (tmp_path / "other" / ".DS_Store.png").touch()  # what systems hide is no part of a data set
    (tmp_path / "other" / "README.txt").touch()
    # folders side by side make one set
    assert len(find_pairs(write_chairs(tmp_path / "set" / "b", 2).parent)) == 2
    write_flownet2(tmp_path / "set" / "a")
    assert names(find_pairs(tmp_path / "set"))[0] == "0000000-img0.png"


def test_pairs_come_in_natural_order(tmp_path):
    for name in ("9", "10", "1"):
        for end in ("img1", "img2"):
            write_png(tmp_path / f"{name}_{end}.png", picture(0))
        write_flow(tmp_path / f"{name}_flow.flo", np.zeros((*SIZE, 2)))
    assert names(find_pairs(tmp_path)) == ["1_img1.png", "9_img1.png", "10_img1.png"]


def test_kitti_is_a_third_style(tmp_path):
    for folder in ("image_2", "flow_occ"):
        (tmp_path / folder).mkdir()
    for frame in (9, 10, 11):
        write_png(tmp_path / "image_2" / f"000003_{frame:02d}.png", picture(frame))
    known = np.zeros(SIZE, bool)
    known[5, 6] = True
    write_flow(tmp_path / "flow_occ" / "000003_10.png", np.full((*SIZE, 2), 2.5), known)
    arrays = read_pair(*find_pairs(tmp_path))
    assert (arrays["current"] == 10).all() and (arrays["key"] == 11).all()
    assert arrays["flow_known"].sum() == 1 and arrays["flow"].sum() == 5
    (tmp_path / "image_2" / "000003_11.png").unlink()
    with pytest.raises(SampleError, match=r"000003_10\.png lacks .*000003_11\.png"):
        find_pairs(tmp_path)
    (tmp_path / "flow_occ").rename(tmp_path / "flows")
    with pytest.raises(FileNotFoundError, match=r"no flow_occ or flow_noc in"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("00002_img2.ppm", r"00002_img1\.ppm lacks 00002_img2 beside it: a pair is two images"),
        ("00002_img1.ppm", r"00002_img2\.ppm lacks 00002_img1 beside it"),
        ("00002_flow.flo", r"00002_img1\.ppm lacks 00002_flow beside it"),
    ],
)
def test_an_image_without_its_partner_or_flow_is_named(gone, said, tmp_path):
    write_chairs(tmp_path, 3)
    (tmp_path / gone).unlink()
    with pytest.raises(SampleError, match=said):
        find_pairs(tmp_path)


def test_files_that_belong_to_no_pair_are_named(tmp_path):
    write_chairs(tmp_path)
    (tmp_path / "preview.png").touch()
    with pytest.raises(SampleError, match=r"preview\.png is no part of a pair"):
        find_pairs(tmp_path)
    (tmp_path / "preview.png").rename(tmp_path / "00001_img1.png")
    with pytest.raises(SampleError, match=r"the same file twice: delete one"):
        find_pairs(tmp_path)


def test_a_folder_without_pairs_says_what_it_wants(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*--data\.root"):
        find_pairs(tmp_path / "nowhere")
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    with pytest.raises(FileNotFoundError, match=r"no pairs in .*00001_img1\.ppm.*0000000-gt\.flo"):
        find_pairs(tmp_path)


def test_flow_and_frames_of_several_sizes_are_refused(tmp_path):
    (pair,) = find_pairs(write_chairs(tmp_path))
    write_flow(pair.flow, np.zeros((64, 79, 2)))
    with pytest.raises(
        SampleError, match=r"00001_flow\.flo is of another size than its images: 64x79.*64x80"
    ):
        read_pair(pair)
    write_png(tmp_path / "00001_img2.png", np.zeros((64, 81, 3), np.uint8))
    (tmp_path / "00001_img2.png").rename(pair.key)
    with pytest.raises(SampleError, match=r"frames of a pair differ in size: .*64x80.*64x81"):
        read_pair(pair)


def test_a_ppm_cut_short_is_refused(tmp_path, capfd):
    (pair,) = find_pairs(write_chairs(tmp_path))
    data = Path(pair.key).read_bytes()
    Path(pair.key).write_bytes(data[: len(data) // 2])
    with pytest.raises(SampleError, match=r"00001_img2\.ppm"):
        read_pair(pair)


def test_the_official_split_is_found_beside_the_pairs_or_given(tmp_path):
    pairs = find_pairs(write_chairs(tmp_path / "release" / "data", 4).parent)
    (tmp_path / "release" / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n1\n")
    assert names(split_pairs(pairs, "val")) == ["00002_img1.ppm"]
    assert names(split_pairs(pairs, "train")) == [f"0000{i}_img1.ppm" for i in (1, 3, 4)]
    other = tmp_path / "mine.txt"
    other.write_text("2\r\n1\r\n1\r\n2\r\n")
    assert names(split_pairs(pairs, "val", other)) == ["00001_img1.ppm", "00004_img1.ppm"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\n2\n", r"split\.txt splits 2 pairs, but there are 3"),
        ("1\n2\n3\n", r"says '3' for pair 3: want 1 \(train\) or 2 \(held out\)"),
        ("\xff\xfe\x00", r"split\.txt is no text"),
    ],
)
def test_a_wrong_split_file_is_refused(text, said, tmp_path):
    pairs = find_pairs(write_chairs(tmp_path, 3))
    (tmp_path / "split.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(SampleError, match=said):
        split_pairs(pairs, "train", tmp_path / "split.txt")


def test_an_absent_split_file_or_an_empty_split_is_said(tmp_path):
    pairs = find_pairs(write_chairs(tmp_path, 2))
    with pytest.raises(FileNotFoundError, match=r"no split file .*--data\.split_file"):
        split_pairs(pairs, "val", tmp_path / "absent.txt")
    with pytest.raises(ValueError, match=r"none of 2 pairs is in the split val: .*all_pairs true"):
        split_pairs(pairs, "val")


def test_without_a_split_file_every_tenth_pair_is_held_out_and_of_few_every_fourth():
    many, few = list(range(40)), list(range(12))

    class Pair:
        def __init__(self, number):
            self.number, self.current = number, "nowhere/at_all.png"

    def held_out(numbers):
        return [p.number for p in split_pairs([Pair(n) for n in numbers], "val")]

    assert held_out(many) == [9, 19, 29, 39]
    assert held_out(few) == [3, 7, 11]
    assert held_out(range(20)) == [9, 19]


def test_pairs_are_samples_at_gap_1(tmp_path):
    files = find_pairs(write_chairs(tmp_path, 3))
    pairs = FlowPairs(PairReader(files), len(files))
    pair = pairs[1]
    assert pair.keys() == {
        *("current", "key", "flow", "flow_known", "gap", "index", "size", "skipped")
    }
    assert pair["current"].shape == (3, *SIZE) and pair["current"].dtype == torch.uint8
    assert pair["flow"].shape == (2, *SIZE) and pair["flow"][:, 0, 0].tolist() == [2, -1]
    assert (int(pair["gap"]), int(pair["index"]), pair["size"].tolist()) == (1, 1, [64, 80])
    assert len(list(pairs)) == 3


def test_a_pair_is_a_function_of_its_draw(tmp_path):
    files = find_pairs(write_chairs(tmp_path))
    write_png(tmp_path / "x.png", np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8))
    (tmp_path / "x.png").rename(files[0].current)
    pairs = FlowPairs(PairReader(files), 1, FlowTransform((64, 64), flip=0.5, rotate=10))
    again = pickle.loads(pickle.dumps(pairs))
    assert torch.equal(pairs[0, 5]["current"], again[0, 5]["current"])
    assert not torch.equal(pairs[0, 5]["current"], pairs[0, 6]["current"])


def test_damaged_pairs_are_passed_over_and_counted_where_asked(tmp_path):
    files = find_pairs(write_chairs(tmp_path, 3))
    Path(files[1].flow).write_bytes(b"")
    with pytest.raises(SampleError, match=r"00002_flow\.flo is cut short"):
        FlowPairs(PairReader(files), 3)[1]
    skipping = FlowPairs(PairReader(files), 3, skip_damaged=True)
    assert (int(skipping[1]["index"]), int(skipping[1]["skipped"])) == (2, 1)
    for pair in files:
        Path(pair.flow).write_bytes(b"")
    with pytest.raises(SampleError, match=r"10 pairs in a row.*the last: .*\.flo is cut short"):
        skipping[1]


@needs_real
def test_the_real_pairs_are_there_in_both_styles():
    pairs = find_pairs(REAL)
    assert len(pairs) == 12 and len(find_pairs(REAL / "chairs_spynet")) == 3
    error, zero = [], []
    for pair in pairs:
        arrays = read_pair(pair)
        flow, current, key = (arrays[n] for n in ("flow", "current", "key"))
        assert flow.shape == (384, 512, 2) and arrays["flow_known"].all()
        grid = np.stack(np.meshgrid(np.arange(512), np.arange(384)), -1).astype(np.float32)
        x, y = np.moveaxis(grid + flow, -1, 0)
        warped = cv2.remap(key, x, y, cv2.INTER_LINEAR)
        inside = (x >= 0) & (x <= 511) & (y >= 0) & (y <= 383)
        error.append(np.abs(warped.astype(float) - current)[inside].mean())
        zero.append(np.abs(key.astype(float) - current)[inside].mean())
    # occluded pixels and all: the key frame along the flow is the current frame
    assert np.mean(error) < 0.35 * np.mean(zero)
