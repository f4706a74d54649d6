import os
import pickle
import shutil
import warnings
from itertools import pairwise

import cv2
import numpy as np
import pytest
import scipy.io  # albumentations depends on it
import torch
from small import DATA
from vid_layout import annotation, box_of, write_frame, write_vid, write_video

from dff.data.collation import collate
from dff.data.datasets.imagenet_vid.ground_truth import motion_iou
from dff.data.datasets.imagenet_vid.index import build_index
from dff.data.datasets.imagenet_vid.lists import frames_on_disk, wanted_frames
from dff.data.datasets.imagenet_vid.snippets import CLASSES, class_names, find_snippets
from dff.data.files.images import read_image
from dff.data.pairs import EvaluationPairs, TrainingPairs
from dff.data.samples import SampleError, describe
from dff.data.transforms.pairs import EvaluationTransform, TrainingTransform

MINI = DATA / "vid_mini"
needs_mini = pytest.mark.skipif(
    not MINI.is_dir(), reason=f"no real ImageNet VID at {MINI}: set DFF_SHARED"
)
FIRST = "VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
SECOND = "VID/train/ILSVRC2015_VID_train_0001/ILSVRC2015_train_00001000"
ALL = ("VID_train", "DET_train")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return write_vid(tmp_path / "ILSVRC2015")


def write_list(root, name, *lines):
    (root / "ImageSets").mkdir(exist_ok=True)
    (root / "ImageSets" / f"{name}.txt").write_text("\n".join(lines))


def write_own(root, classes="person\nfork lift\n"):
    write_frame(root, "VID/train/mine/000000", [("fork lift", 0, (1, 1, 9, 9))])
    write_frame(root, "VID/train/mine/000001", [("person", 0, (1, 1, 9, 9))])
    if classes is not None:
        (root / "classes.txt").write_text(classes)
    return root


def numbers(snippets):
    return {s.name.rsplit("/", 1)[1]: list(s.labelled) for s in snippets if s.labelled}


def test_videos_of_ones_own_have_their_own_classes(tmp_path):
    root = write_own(tmp_path / "mine")
    assert class_names(root)[0] == ("person", "fork lift")
    (snippet,) = find_snippets(root, "train", ["VID_train"])
    assert [snippet.boxes.boxes(n).labels.tolist() for n in (0, 1)] == [[1], [0]]
    # the cached index is of these classes in this order
    (root / "classes.txt").write_text("fork lift\nperson\n")
    (snippet,) = find_snippets(root, "train", ["VID_train"], workers=2)
    assert [snippet.boxes.boxes(n).labels.tolist() for n in (0, 1)] == [[0], [1]]


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (None, "want one of the 30 WordNet ids .* name classes of your own in classes.txt"),
        ("person\n", "'fork lift': want one of the 1 names in classes.txt, such as person"),
        ("person\nperson\n", "names a class twice: person"),
        ("", "names 0 classes"),
    ],
)
def test_a_class_that_classes_txt_lacks_is_told(tmp_path, classes, told):
    root = write_own(tmp_path / "mine", classes)
    with pytest.raises(SampleError, match=told):
        find_snippets(root, "train", ["VID_train"])


def test_all_that_is_annotated_becomes_snippets_with_boxes(root):
    snippets = find_snippets(root, "train")
    assert (snippets.videos, len(snippets), snippets.labelled_counts) == (2, 5, (22, 3))
    first = snippets[0]
    assert first.name == FIRST and list(first.frames) == list(first.labelled) == list(range(12))
    assert first.frames[7] == str(root / "Data" / FIRST / "000007.JPEG")
    assert first.box_files[7] == str(root / "Annotations" / FIRST / "000007.xml")
    assert 12 not in first.frames and -1 not in first.frames
    with pytest.raises(KeyError):
        first.frames[12]
    boxes = first.boxes.boxes(7)
    assert boxes.corners.tolist() == [list(box_of(7, 0)), list(box_of(7, 1))]
    assert boxes.labels.tolist() == [0, 6] and boxes.tracks.tolist() == [0, 1]
    assert boxes.frame_size == (80, 112)
    assert (boxes.corners.dtype, boxes.labels.dtype) == (np.float32, np.int64)
    assert first.boxes.boxes(3).corners.shape == (0, 4)
    assert describe(snippets) == (
        "25 labelled frames in 5 snippets, 25 frames; "
        "5 labelled frames without an earlier frame (gap 0 only)"
    )


def test_an_image_of_det_is_a_snippet_of_one_frame(root):
    images = list(find_snippets(root, "train"))[2:]
    # image_3 shows none of the 30 classes: left out where no list asks for it
    assert [image.name.rsplit("/", 1)[1] for image in images] == ["image_0", "image_2", "image_1"]
    image = images[1]
    assert dict(image.frames) == {0: str(root / "Data" / f"{image.name}.JPEG")}
    boxes = image.boxes.boxes(0)
    assert boxes.labels.tolist() == [7] and boxes.tracks.tolist() == [-1]
    assert boxes.frame_size == (88, 96)


def test_lists_choose_the_labelled_frames_and_leave_the_others_as_keys(root):
    write_list(
        root,
        "VID_train_15frames",
        f"{SECOND[4:]} 1 8 10",
        f"{FIRST[4:]} 1 9 12",
        f"{FIRST[4:]} 1 3 12",
        "",
    )
    write_list(root, "DET_train_30classes", "train/ILSVRC2014_train_0000/image_3 1")
    snippets = find_snippets(root, "train")
    assert numbers(snippets) == {
        "ILSVRC2015_train_00000000": [3, 9],
        "ILSVRC2015_train_00001000": [8],
        "image_3": [0],
    }
    assert all(len(snippet.frames) in (1, 10, 12) for snippet in snippets)
    # listed, so it stays, though nothing of the 30 classes is on it
    (image,) = (s for s in snippets if s.name.endswith("image_3"))
    assert image.boxes.boxes(0).corners.shape == (0, 4)
    write_list(root, "VID_val_videos", "val/ILSVRC2015_val_00000000 1 0 12")
    assert numbers(find_snippets(root, "val")) == {"ILSVRC2015_val_00000000": list(range(12))}
    write_list(root, "VID_val_frames", *(f"val/ILSVRC2015_val_00000000/00000{i} 1" for i in (2, 5)))
    found = find_snippets(root, "val", sets=["VID_val_frames"])
    assert numbers(found) == {"ILSVRC2015_val_00000000": [2, 5]}


@pytest.mark.parametrize("folder", ["", ".."])
def test_the_folder_above_is_as_good(root, folder):
    assert len(find_snippets(root / folder, "val")) == 1


def test_the_index_is_read_once(root, cache, monkeypatch):
    first = find_snippets(root, "train")
    (file,) = cache.iterdir()
    with np.load(file, allow_pickle=False) as stored:
        assert set(stored) == set(first.index.__dataclass_fields__)
    monkeypatch.setattr("dff.data.datasets.imagenet_vid.snippets.build_index", None)
    again = find_snippets(root, "train")
    for name in first.index.__dataclass_fields__:
        one, two = getattr(first.index, name), getattr(again.index, name)
        assert one.dtype == two.dtype and np.array_equal(one, two)


def test_the_index_is_read_again_when_files_or_lists_change(root):
    assert find_snippets(root, "train").labelled_counts == (22, 3)
    write_frame(root, f"{FIRST}/000012", [])
    assert find_snippets(root, "train").labelled_counts == (23, 3)
    write_list(root, "VID_train_15frames", f"{FIRST[4:]} 1 2 13")
    assert find_snippets(root, "train").labelled_counts == (1, 3)
    write_list(root, "VID_train_15frames", f"{FIRST[4:]} 1 4 13")
    assert numbers(find_snippets(root, "train"))["ILSVRC2015_train_00000000"] == [4]


def test_a_damaged_or_closed_cache_is_no_obstacle(root, cache, monkeypatch):
    find_snippets(root, "val")
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:-100], whole[:2000] + bytes(50) + whole[2050:]):
        file.write_bytes(damaged)
        assert len(find_snippets(root, "val")[0].labelled) == 12
    monkeypatch.setenv("DFF_CACHE", str(root / "Data" / f"{FIRST}" / "000000.JPEG"))
    with pytest.warns(UserWarning, match=r"cannot be kept at .*DFF_CACHE"):
        assert len(find_snippets(root, "val")) == 1


def test_the_number_of_workers_changes_nothing(root):
    wanted, _ = wanted_frames(root, list(ALL))
    listed = frames_on_disk(root, wanted)
    alone, workers = (build_index(root, listed, count) for count in (1, 2))
    for name in alone.__dataclass_fields__:
        assert np.array_equal(getattr(alone, name), getattr(workers, name)), name


def test_workers_share_flat_arrays(root):
    snippets = find_snippets(root, "train")
    again = pickle.loads(pickle.dumps(snippets))
    assert [s.name for s in again] == [s.name for s in snippets]
    assert again[1].boxes.boxes(4).corners.tolist() == snippets[1].boxes.boxes(4).corners.tolist()
    fields = vars(snippets.index).values()
    assert all(isinstance(field, np.ndarray) and field.dtype != object for field in fields)
    assert snippets[-1].name == snippets[4].name
    with pytest.raises(IndexError):
        snippets[5]


def test_pairs_come_with_boxes_where_the_pixels_are(root):
    snippets = find_snippets(root, "train")
    transform = TrainingTransform((64, 64), scale=(0.8, 1.5), flip=0.5, min_visibility=0.3)
    pairs = TrainingPairs(snippets, None, transform, with_boxes=True, clamp_gaps=True)
    assert len(pairs) == 25 and pairs.entries.dtype == np.int32
    found = 0
    for index in range(25):
        pair = pairs[index, index]
        assert "mask" not in pair and pair["size"].tolist() == [64, 64]
        red = pair["current"][0].int()
        for (x1, y1, x2, y2), label in zip(
            pair["boxes"].round().int().tolist(), pair["box_labels"].tolist(), strict=True
        ):
            inside = red[y1 + 3 : y2 - 2, x1 + 3 : x2 - 2]
            if inside.numel():
                assert (inside - (105 + 5 * label)).abs().max() <= 3
                found += 1
        if index >= 22:
            assert pair["gap"] == 0
    assert found > 20


def damage(root, kind):
    """Damages frame 5 of the first video."""
    data = root / "Data" / FIRST / "000005.JPEG"
    xml = root / "Annotations" / FIRST / "000005.xml"
    if kind == "cut short":
        xml.write_text(xml.read_text()[:-30])
    elif kind == "ends before it begins":
        xml.write_text(annotation([(0, 0, (9, 9, 3, 12))]))
    elif kind == "object of class":
        xml.write_text(annotation([("n00000000", 0, (1, 1, 3, 12))]))
    elif kind == r"JPEG is missing, though a list or an annotation names it: unpack":
        data.unlink()
    elif kind == r"\.xml is missing: unpack":
        xml.unlink()
        write_list(root, "VID_train_15frames", *(f"{FIRST[4:]} 1 {n} 12" for n in range(12)))
    return xml


KINDS = (
    *("cut short", "ends before it begins", "object of class"),
    r"JPEG is missing, though a list or an annotation names it: unpack",
    r"\.xml is missing: unpack",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_that_cannot_be_used_is_named_or_left_unlabelled(root, kind):
    before = find_snippets(root, "train", sets=["VID_train"])
    xml = damage(root, kind)
    os.utime(xml.parent)
    name = "VID_train_15frames"
    with pytest.raises(SampleError, match=rf"1 of \d+ labelled frames .* first: .*000005.*{kind}"):
        find_snippets(root, "train", sets=[name])
    with pytest.warns(UserWarning, match=f"left unlabelled: 1 of .*{kind}"):
        found = find_snippets(root, "train", sets=[name], skip_damaged=True)
    assert list(found[0].labelled) == [n for n in range(12) if n != 5]
    assert found.labels_left_out == 1
    for number in found[0].labelled:
        wanted = before[0].boxes.boxes(number)
        assert np.array_equal(found[0].boxes.boxes(number).corners, wanted.corners)
    with pytest.raises(SampleError, match=r"frame 5 of .* has no annotation"):
        found[0].boxes.boxes(5)


def test_an_annotation_corrected_in_its_place_is_seen(root):
    xml = damage(root, "ends before it begins")
    with pytest.raises(SampleError, match="ends before it begins"):
        find_snippets(root, "train")
    xml.write_text(annotation([(0, 0, (3, 9, 9, 12))]))
    assert find_snippets(root, "train")[0].boxes.boxes(5).corners.tolist() == [[3, 9, 9, 12]]


def test_what_was_left_out_is_looked_at_again_where_damage_is_an_error(root):
    xml = damage(root, "ends before it begins")
    with pytest.warns(UserWarning, match="left unlabelled: 1 of"):
        find_snippets(root, "train", skip_damaged=True)
    xml.write_text(annotation([(0, 0, (3, 9, 9, 12))]))
    assert find_snippets(root, "train")[0].boxes.boxes(5).corners.tolist() == [[3, 9, 9, 12]]


def test_a_video_of_which_nothing_can_be_used_is_left_out(root):
    for xml in (root / "Annotations" / FIRST).iterdir():
        xml.write_text("")
    with pytest.warns(UserWarning, match="left unlabelled: 12 of 25"):
        found = find_snippets(root, "train", skip_damaged=True)
    assert found.videos == 1 and found.labelled_counts == (10, 3)
    assert found[0].name == SECOND and list(found[0].frames) == list(range(10))
    assert found[0].boxes.boxes(4).corners.tolist() == [list(box_of(4, 0))]
    assert found[1].boxes.boxes(0).labels.tolist() == [7]


def test_boxes_beyond_the_image_are_clipped_and_counted(root):
    write_frame(root, f"{FIRST}/000012", [(2, 0, (90, 60, 112, 82))])
    for _ in range(2):  # also from the cache
        with pytest.warns(UserWarning, match=r"1 of \d+ boxes of VID_train.* by up to 3 pixels"):
            found = find_snippets(root, "train")
    assert found[0].boxes.boxes(12).corners.tolist() == [[90, 60, 111, 79]]


def test_an_annotation_of_another_image_is_named(root):
    (root / "Annotations" / FIRST / "000005.xml").write_text(annotation([], size=(96, 112)))
    pairs = TrainingPairs(
        find_snippets(root, "train"), None, TrainingTransform(None), with_boxes=True
    )
    with pytest.raises(SampleError, match=r"boxes of a frame of another size: 96x112.*80x112"):
        pairs[5, 0]


def test_evaluation_pairs_tell_how_each_box_moves(root):
    snippet = find_snippets(root, "val")[0]
    pairs = EvaluationPairs([snippet], None, EvaluationTransform(), [0], with_boxes=True)
    frame, rows = zip(*[(n, snippet.boxes.boxes(n)) for n in snippet.labelled], strict=True)
    wanted = motion_iou(
        np.repeat(frame, [len(b.labels) for b in rows]),
        np.concatenate([b.tracks for b in rows]),
        np.concatenate([b.corners for b in rows]),
    )
    given = torch.cat([pair["motion"] for pair in pairs]).numpy()
    np.testing.assert_array_equal(given, wanted)
    assert len({round(value, 6) for value in given}) > 1
    counts = [len(pair["motion"]) for pair in pairs]
    assert counts == [len(b.labels) for b in rows] and 0 in counts
    batch = collate([pairs[0], pairs[3]])
    assert batch["motion"].isnan().tolist() == (batch["box_labels"] < 0).tolist()


def test_boxes_are_those_of_the_stored_pixels(root):
    # the note of a camera that a picture is to be turned, which annotations do not follow
    path = root / "Data" / FIRST / "000005.JPEG"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert read_image(path).shape == (112, 80, 3)
    pairs = TrainingPairs(
        find_snippets(root, "train"), None, TrainingTransform(None), with_boxes=True
    )
    assert pairs[5, 0]["current"].shape == (3, 80, 112)


@pytest.mark.parametrize(
    "lines, message",
    [
        (["what is this"], r"VID_train_15frames\.txt, line 1: 'what is this' is no line"),
        (["", f"{FIRST[4:]} 1 x 12"], r"line 2: .* is no line of such a list; copy it again"),
        (["../../secret 1 1 1"], "line 1: .* leaves the data set"),
        ([f"{FIRST[4:]} 1 99999999999 12"], "line 1: .* is no line"),
    ],
)
def test_a_line_that_is_none_is_named(root, lines, message):
    write_list(root, "VID_train_15frames", *lines)
    with pytest.raises(SampleError, match=message):
        find_snippets(root, "train")


def test_frames_that_are_not_called_by_six_digits_are_told(root):
    write_frame(root, "VID/train/other/00001", [(0, 0, (1, 1, 9, 9))])
    with pytest.raises(SampleError, match=r"other holds 00001\.xml: .* six digits"):
        find_snippets(root, "train", sets=["VID_train"])


@pytest.mark.parametrize(
    "suffixes", [(".jpg",), (".png",), (".JPG",), (".PNG",), (".jpeg",), (".jpg", ".JPEG", ".png")]
)
def test_frames_may_have_another_suffix(root, suffixes):
    official = {s.name: list(s.frames) for s in find_snippets(root, "train")}
    for number, path in enumerate(sorted((root / "Data").rglob("*.JPEG"))):
        target = path.with_suffix(suffixes[number % len(suffixes)])
        picture = cv2.imread(str(path))
        path.unlink()
        cv2.imwrite(str(target), picture)
    found = find_snippets(root, "train")
    assert {s.name: list(s.frames) for s in found} == official
    assert {s.frames[n].rpartition(".")[2] for s in found for n in s.frames} == {
        suffix[1:] for suffix in suffixes
    }
    pairs = TrainingPairs(found, None, TrainingTransform(None), with_boxes=True)
    assert all(len(pairs[index, 0]["current"]) == 3 for index in range(len(pairs)))


def test_of_a_frame_that_is_there_twice_the_official_file_is_taken(root):
    path = root / "Data" / FIRST / "000005.JPEG"
    for suffix in (".JPG", ".jpg", ".png"):
        path.with_suffix(suffix).write_bytes(path.read_bytes())
    assert find_snippets(root, "train")[0].frames[5] == str(path)


@pytest.mark.parametrize(
    "name, own, message",
    [
        ("{}.bmp", False, r"holds 000000\.bmp: frames are called by .* and are \.JPEG, \.jpg"),
        ("frame_{}.jpg", False, r"holds frame_000000\.jpg: frames are called by the six digits"),
        (None, False, r"00000000 is empty: unpack ILSVRC2015_VID\.tar\.gz"),
        (None, True, r"00000000 is empty: put the frames of your videos at .*Data/VID/SPLIT/"),
    ],
)
def test_why_no_frame_is_found_is_told_by_what_is_there(tmp_path, name, own, message):
    root = tmp_path / "one"
    write_video(root, "val/ILSVRC2015_val_00000000", 2, ("n02691156", 0))
    for path in (root / "Data").rglob("*.JPEG"):
        if name:
            path.rename(path.with_name(name.format(path.stem)))
        else:
            path.unlink()
    if own:
        (root / "classes.txt").write_text("n02691156\n")
    with pytest.raises(FileNotFoundError, match=message):
        find_snippets(root, "val")


def test_a_list_in_another_encoding_is_named(root):
    (root / "ImageSets").mkdir(exist_ok=True)
    (root / "ImageSets" / "VID_train_15frames.txt").write_bytes("caf\xe9 1 1 1".encode("latin-1"))
    with pytest.raises(SampleError, match=r"VID_train_15frames\.txt is no UTF-8 text"):
        find_snippets(root, "train")


def test_what_is_missing_is_named_with_its_cure(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*Data: unpack .*data\.root"):
        find_snippets(tmp_path / "nowhere", "train")
    with pytest.raises(FileNotFoundError, match=r"no list .*VID_train_mine.* or take VID_train"):
        find_snippets(root, "train", sets=["VID_train_mine"])
    with pytest.raises(SampleError, match="set 'mine': want a name that begins like VID_train"):
        find_snippets(root, "train", sets=["mine"])
    with pytest.raises(SampleError, match="no sets of split 'test'"):
        find_snippets(root, "test")
    shutil.rmtree(root / "Annotations" / "DET")
    with pytest.raises(FileNotFoundError, match=r"no list .*DET_train_30classes.txt, and no annot"):
        find_snippets(root, "train")
    write_list(root, "VID_train_15frames", "train/elsewhere 1 3 12")
    with pytest.raises(FileNotFoundError, match="none of the 1 videos and images that are listed"):
        find_snippets(root, "train", sets=["VID_train_15frames"])


@needs_mini
def test_real_boxes_are_those_of_the_official_ground_truth():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (snippet,) = find_snippets(MINI, "val", sets=["VID_val"])
    assert list(snippet.labelled) == list(snippet.frames) == list(range(144))
    truth = scipy.io.loadmat(MINI / "ILSVRC2015_vid_validation_ground_truth_whole.mat")
    lines = (MINI / "ILSVRC2015/ImageSets/VID_val_videos.txt").read_text().splitlines()
    (first,) = (int(line.split()[1]) for line in lines if snippet.name[4:] in line)
    rows = {int(number): row for row, number in enumerate(truth["gt_img_ids"].ravel())}
    for number in snippet.labelled:
        boxes, row = snippet.boxes.boxes(number), rows[first + number]
        official = truth["gt_obj_bboxes"].ravel()[row].T
        assert np.array_equal(boxes.corners, official)
        assert np.array_equal(boxes.labels + 1, truth["gt_obj_labels"].ravel()[row].ravel())
        assert boxes.tracks.tolist() == list(range(7)) and boxes.frame_size == (720, 1280)
    assert {CLASSES[label] for label in boxes.labels} == {"airplane"}


@needs_mini
def test_of_real_lists_what_is_not_there_is_counted():
    with pytest.warns(UserWarning, match="left unlabelled: 175982 of 176126"):
        found = find_snippets(MINI, "val", skip_damaged=True)
    assert [len(s.labelled) for s in found] == [144]
    with pytest.raises(FileNotFoundError, match=r"none of the .* is in"):
        find_snippets(MINI, "train")


@needs_mini
def test_tracks_of_real_boxes_go_on_from_frame_to_frame():
    (snippet,) = find_snippets(MINI, "val", sets=["VID_val"])
    for before, after in pairwise(snippet.labelled):
        moved = snippet.boxes.boxes(after).corners - snippet.boxes.boxes(before).corners
        assert np.abs(moved).max() < 40
