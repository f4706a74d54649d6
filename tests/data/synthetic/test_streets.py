import json
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dff.data.samples import SampleError
from dff.data.synthetic.streets import dataset as streets
from dff.data.synthetic.streets.dataset import (
    StreetSettings,
    StreetTruth,
    draw_streets,
    streets_folder,
    truth_for,
)
from dff.data.synthetic.streets.drawing import DrawnVideo, draw_video
from dff.data.synthetic.streets.truth import LEAST_SIDE, write_truth
from dff.models.schedules.cuts import CUT, cut_score

TINY = StreetSettings(train_videos=1, val_videos=1, frames=12, val_frames=12, height=96, width=192)
THING_IDS = [24, 25, 26, 27, 28, 31, 32, 33]
CLASSES = [7, 8, 11, 20, 21, 23, 24, 26, 27, 33]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_streets(tmp_path_factory.mktemp("streets") / "tiny", TINY, workers=1)


@pytest.fixture(scope="module", params=[0, 1, 5])
def unlit(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DrawnVideo, StreetTruth]:
    time = np.arange(10) - 4.5
    drawn = draw_video(np.random.default_rng(request.param), time, 192, 384, light=False)
    path = tmp_path_factory.mktemp("truth") / "streets_000000.npz"
    write_truth(path, drawn)
    return drawn, StreetTruth(str(path))


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def pick(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def image_file(root: Path, split: str, frame: int) -> Path:
    folder = root / "leftImg8bit_sequence" / split / "streets"
    return folder / f"streets_000000_{frame:06d}_leftImg8bit.jpg"


def mask_file(root: Path, split: str, frame: int, kind: str) -> Path:
    folder = root / "gtFine" / split / "streets"
    return folder / f"streets_000000_{frame:06d}_gtFine_{kind}.png"


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_number_of_workers_changes_nothing(root: Path, tmp_path: Path) -> None:
    assert contents(draw_streets(tmp_path / "other", TINY, workers=2)) == contents(root)


def test_another_seed_and_the_other_split_are_other_videos(root: Path, tmp_path: Path) -> None:
    settings = StreetSettings(**{**TINY.__dict__, "seed": 1, "val_videos": 0, "frames": 1})
    other = draw_streets(tmp_path, settings, workers=1)
    first = read(image_file(root, "train", 0)).astype(int)
    assert np.abs(first - read(image_file(other, "train", 0))).mean() > 10
    assert np.abs(first - read(image_file(root, "val", 0))).mean() > 10


def test_layout_is_that_of_cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        for frame in range(TINY.frames):
            image = read(image_file(root, split, frame))
            labels = read(mask_file(root, split, frame, "labelIds"))
            instances = read(mask_file(root, split, frame, "instanceIds"))
            assert image.shape == (96, 192, 3) and image.dtype == np.uint8
            assert labels.shape == instances.shape == (96, 192)
            assert labels.dtype == np.uint8 and instances.dtype == np.uint16
            assert set(np.unique(labels)) <= set(CLASSES)
            things = labels >= 24
            assert (instances[things] // 1000 == labels[things]).all()
            assert (instances[~things] == labels[~things]).all()


def test_every_class_is_in_both_splits(root: Path) -> None:
    for split in ("train", "val"):
        labels = [read(mask_file(root, split, f, "labelIds")) for f in range(TINY.frames)]
        assert set(np.unique(labels)) == set(CLASSES)


def test_frames_are_rgb_on_disk(root: Path) -> None:
    image, labels = (
        read(image_file(root, "train", 6)),
        read(mask_file(root, "train", 6, "labelIds")),
    )
    blue, green, red = image[labels == 21].mean(0)
    assert green > red and green > blue


def test_flow_brings_the_key_frame_onto_the_current(
    unlit: tuple[DrawnVideo, StreetTruth],
) -> None:
    drawn, truth = unlit
    for gap in (1, 4, 9):
        current, key = drawn.frames[9].astype(np.float32), drawn.frames[9 - gap].astype(np.float32)
        flow, occluded = truth.flow(9, 9 - gap)
        assert flow.dtype == np.float32 and flow.shape == (192, 384, 2)
        assert 0.5 < (~occluded).mean() < 1
        error = np.abs(pick(key, flow) - current)[~occluded].mean()
        still = np.abs(key - current)[~occluded].mean()
        wrong_way = np.abs(pick(key, -flow) - current)[~occluded].mean()
        # what is left is the blur of sampling twice, and borders half covered
        assert error < 5
        assert error < 0.4 * still
        assert error < 0.4 * wrong_way


def test_half_a_pixel_beside_the_flow_is_worse(unlit: tuple[DrawnVideo, StreetTruth]) -> None:
    drawn, truth = unlit
    current, key = drawn.frames[5].astype(np.float32), drawn.frames[2].astype(np.float32)
    flow, occluded = truth.flow(5, 2)
    error = np.abs(pick(key, flow) - current)[~occluded].mean()
    for shift in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
        beside = np.abs(pick(key, flow + np.float32(shift)) - current)[~occluded].mean()
        assert beside > 1.1 * error


def test_labels_go_along_the_flow(root: Path) -> None:
    truth = truth_for(root, "train", "streets/streets_000000")
    labels = [read(mask_file(root, "train", f, "labelIds")) for f in range(TINY.frames)]
    y, x = np.indices((96, 192))
    for current, key in ((11, 2), (6, 5), (9, 5)):
        flow, occluded = truth.flow(current, key)
        column = np.floor(x + flow[..., 0] + 0.5).astype(int).clip(0, 191)
        row = np.floor(y + flow[..., 1] + 0.5).astype(int).clip(0, 95)
        same = labels[key][row, column] == labels[current]
        assert same[~occluded].mean() >= 0.99
        assert same[occluded].mean() < 0.9


def test_what_leaves_the_frame_is_occluded(unlit: tuple[DrawnVideo, StreetTruth]) -> None:
    _, truth = unlit
    flow, occluded = truth.flow(9, 0)
    y, x = np.indices(occluded.shape)
    x, y = x + flow[..., 0], y + flow[..., 1]
    outside = (x < -0.51) | (x > 383.51) | (y < -0.51) | (y > 191.51)
    assert outside.any() and occluded[outside].all()


def test_no_gap_no_flow(root: Path) -> None:
    flow, occluded = truth_for(root, "val", "streets/streets_000000").flow(7, 7)
    assert not flow.any() and not occluded.any()


def test_without_speed_nothing_moves(tmp_path: Path) -> None:
    settings = StreetSettings(1, 0, frames=3, height=64, width=128, speed=0.0)
    truth = truth_for(draw_streets(tmp_path, settings, workers=1), "train", "streets_000000")
    flow, occluded = truth.flow(2, 0)
    assert np.abs(flow).max() < 1e-3 and not occluded[1:-1, 1:-1].any()


def test_boxes_enclose_the_visible_pixels(root: Path) -> None:
    truth = pickle.loads(pickle.dumps(truth_for(root, "train", "streets/streets_000000")))
    instance_of: dict[int, int] = {}
    for frame in range(TINY.frames):
        instances = read(mask_file(root, "train", frame, "instanceIds"))
        boxes = truth.boxes(frame)
        found = []
        for (x1, y1, x2, y2), number, track in zip(*boxes[:3], strict=True):
            inside = instances[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1]
            label = THING_IDS[number]
            wanted = instance_of.get(int(track))
            if wanted is None:
                candidates = [i for i in np.unique(inside) if i // 1000 == label]
                wanted = next(i for i in candidates if fits(instances == i, (x1, y1, x2, y2)))
                instance_of[int(track)] = int(wanted)
            # the same track is the same instance in every frame
            assert fits(instances == wanted, (x1, y1, x2, y2))
            found.append(wanted)
        seen = {i: np.nonzero(instances == i) for i in np.unique(instances) if i >= 1000}
        large = [i for i, at in seen.items() if min(np.ptp(axis) for axis in at) + 1 >= LEAST_SIDE]
        assert sorted(found) == sorted(large)
    assert len(set(instance_of.values())) == len(instance_of) > 4


def test_a_damaged_truth_is_named(root: Path, tmp_path: Path) -> None:
    good = (root / "truth" / "train" / "streets_000000.npz").read_bytes()
    for damaged in (good[:-300], good[:200] + bytes(200) + good[400:], b"", b"text"):
        (tmp_path / "streets_000000.npz").write_bytes(damaged)
        with pytest.raises(SampleError, match=r"streets_000000\.npz is damaged .*: delete it"):
            truth = StreetTruth(str(tmp_path / "streets_000000.npz"))
            [truth.boxes(frame) for frame in range(2)]
            truth.flow(1, 0)


def fits(mask: np.ndarray, box: tuple[float, float, float, float]) -> bool:
    y, x = np.nonzero(mask)
    return len(x) > 0 and (x.min(), y.min(), x.max(), y.max()) == tuple(box)


def test_copied_labels_lose_a_third_at_gap_nine() -> None:
    number = np.full(256, 255)
    number[CLASSES] = range(10)
    counts = np.zeros(100, np.int64)
    for video in range(5):
        rng = np.random.default_rng([0, 0, video])
        drawn = draw_video(rng, np.arange(30) - 14.5, 96, 192, light=False)
        labels = number[drawn.labels][drawn.surfaces]
        counts += np.bincount((labels[9:] * 10 + labels[:-9]).ravel(), minlength=100)
    table = counts.reshape(10, 10)
    hits = np.diag(table)
    assert (hits / (table.sum(0) + table.sum(1) - hits)).mean() <= 0.667
    assert (table.sum(1) / table.sum() > 0.01).all()  # and no class is rare


def test_an_interrupted_drawing_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, imwrite = streets.draw_video, cv2.imwrite
    written = []

    def breaks(path: str, *rest: object) -> bool:
        written.append(path)
        if len(written) > 40:  # in the middle of the second video
            raise KeyboardInterrupt
        return imwrite(path, *rest)

    monkeypatch.setattr(cv2, "imwrite", breaks)
    with pytest.raises(KeyboardInterrupt):
        draw_streets(tmp_path / "half", TINY, workers=1)
    assert not (tmp_path / "half" / "finished").exists()
    assert truth_for(tmp_path / "half", "train", "streets/streets_000000") is not None
    assert truth_for(tmp_path / "half", "val", "streets/streets_000000") is None
    assert not list((tmp_path / "half").glob(".drawing*"))

    drawn = []
    monkeypatch.setattr(cv2, "imwrite", imwrite)
    monkeypatch.setattr(streets, "draw_video", lambda *a: drawn.append(1) or draw(*a))
    assert contents(draw_streets(tmp_path / "half", TINY, workers=1)) == contents(root)
    assert len(drawn) == 1


def test_a_video_half_moved_in_is_drawn_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, moved = os.replace, []

    def breaks(*paths: Path) -> None:
        moved.append(paths)
        if len(moved) > 50:  # after the first video's 37 files and some of the second
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", breaks)
    with pytest.raises(KeyboardInterrupt):
        draw_streets(tmp_path / "half", TINY, workers=1)
    monkeypatch.setattr(os, "replace", replace)
    assert image_file(tmp_path / "half", "val", 0).exists()
    assert truth_for(tmp_path / "half", "val", "streets/streets_000000") is None
    assert contents(draw_streets(tmp_path / "half", TINY, workers=1)) == contents(root)


def test_drawn_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streets, "draw_video", None)
    assert draw_streets(root, TINY) == root


def test_streets_of_other_settings_are_refused(root: Path) -> None:
    other = StreetSettings(**{**TINY.__dict__, "speed": TINY.speed + 1})
    message = f"other settings: speed {TINY.speed} (wanted {TINY.speed + 1}); choose another"
    with pytest.raises(SampleError, match=re.escape(message)):
        draw_streets(root, other)


MIXED = StreetSettings(0, 2, 1, 40, 64, 128, 1.5, 3, stops=1, turns=1, cuts=1)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_streets(tmp_path_factory.mktemp("data") / "mixed", MIXED, workers=1)


def test_mixed_streets_stop_and_cut_and_their_truth_knows_it(mixed: Path) -> None:
    truth = truth_for(mixed, "val", "streets/streets_000000")
    assert truth is not None
    motion, hidden = [], []
    for frame in range(1, 40):
        flow, occluded = truth.flow(frame, frame - 1)
        hidden.append(occluded.mean())
        # the ground is still wherever the camera stands
        motion.append(np.median(np.abs(flow[~occluded])) if not occluded.all() else np.inf)
    assert sum(share == 1 for share in hidden) == 1  # across the cut nothing is known
    assert sum(value < 0.02 for value in motion) >= 4


def test_cuts_of_mixed_streets_are_found_and_turns_are_none(mixed: Path) -> None:
    truth = truth_for(mixed, "val", "streets/streets_000000")
    assert truth is not None
    files = sorted((mixed / "leftImg8bit_sequence/val/streets").glob("streets_000000_*"))
    frames = [torch.from_numpy(cv2.imread(str(f))).permute(2, 0, 1)[None] / 255 for f in files]
    for number in range(1, 40):
        is_cut = bool(truth.flow(number, number - 1)[1].all())
        assert (cut_score(frames[number], frames[number - 1]) > CUT) == is_cut


def test_even_streets_keep_their_folder_and_wrong_numbers_are_named(tmp_path: Path) -> None:
    settings = StreetSettings(1, 0, frames=1, height=32, width=64)
    described = json.loads((draw_streets(tmp_path, settings, 1) / "settings.json").read_text())
    assert not {"stops", "turns", "cuts", "static_share"} & described.keys()
    with pytest.raises(SampleError, match="static_share=2: it must lie between 0 and 1"):
        draw_streets(tmp_path / "other", StreetSettings(static_share=2))


def test_a_damaged_settings_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(SampleError, match=r"settings\.json is damaged: delete"):
        draw_streets(tmp_path, TINY)


@pytest.mark.parametrize("other", ["gtFine", "train", "holiday.jpg"])
def test_a_folder_of_something_else_is_not_drawn_into(tmp_path: Path, other: str) -> None:
    (tmp_path / other).mkdir()
    with pytest.raises(SampleError, match=f"holds {other}, which is not drawn: .*--data Folder"):
        draw_streets(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == [other]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SampleError, match=r"cannot write the drawn streets to .*file.*DFF_CACHE"):
        draw_streets(tmp_path / "file" / "streets", TINY)


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"height": 8}, {"speed": float("nan")}])
def test_settings_that_cannot_be_drawn_are_refused(wrong: dict, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=f"{next(iter(wrong))}=.* must be"):
        draw_streets(tmp_path, StreetSettings(**wrong))


def test_callers_at_once_draw_one_data_set(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, drawn = streets.draw_video, []
    monkeypatch.setattr(streets, "draw_video", lambda *a: drawn.append(1) or draw(*a))
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(draw_streets, tmp_path / "shared", TINY, 1) for _ in range(3)]
        assert [job.result() for job in jobs] == [tmp_path / "shared"] * 3
    assert contents(tmp_path / "shared") == contents(root)
    assert len(drawn) == 2  # the others waited


def test_cache_folder_follows_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFF_CACHE", str(tmp_path / "cache"))
    settings = StreetSettings(1, 0, frames=1, height=32, width=64)
    first = streets_folder(settings, workers=1)
    assert first.parent == tmp_path / "cache" and (first / "finished").exists()
    assert json.loads((first / "settings.json").read_text())["width"] == 64
    assert streets_folder(settings) == first
    other = StreetSettings(1, 0, frames=1, height=32, width=64, seed=1)
    assert streets_folder(other, cache=tmp_path, workers=1).name != first.name
    monkeypatch.setattr(streets, "DRAWING", 10**6)
    assert streets_folder(settings, workers=1) != first


def test_no_truth_for_real_data(tmp_path: Path) -> None:
    assert truth_for(tmp_path, "train", "aachen/aachen_000000") is None


UNGUARDED = """
import sys
from dff.data.synthetic.streets.dataset import StreetSettings, draw_streets
print("run", draw_streets(sys.argv[1], StreetSettings(2, 1, 2, 2, 32, 64), workers=2))
"""


@pytest.mark.parametrize("given", ["a script", "standard input"])
def test_a_script_without_a_guard_draws_and_is_run_once(given: str, tmp_path: Path) -> None:
    script = tmp_path / "draw.py"
    script.write_text(UNGUARDED)
    words = [str(script)] if given == "a script" else ["-"]
    with script.open() as file:
        done = subprocess.run(
            [sys.executable, *words, str(tmp_path / "drawn")],
            stdin=file,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run") == 1
    assert (tmp_path / "drawn" / "finished").exists()
