import pickle

import numpy as np
import pytest

from dff.data.datasets.folder import MaskReader, find_snippets, read_classes
from dff.data.files.images import write_png
from dff.data.samples import SampleError, describe


def touch(root, *names):
    for name in names:
        path = root / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_frames_are_numbered_in_natural_order(tmp_path):
    touch(tmp_path, "frames/a/f10.png", "frames/a/f9.JPG", "frames/a/f2.jpeg", "frames/a/.f1.png")
    touch(tmp_path, "frames/a/notes.txt", "masks/a/f9.png")
    (snippet,) = find_snippets(tmp_path, "train")
    names = [path.rsplit("/", 1)[1] for path in snippet.frames.values()]
    assert list(snippet.frames) == [0, 1, 2]
    assert names == ["f2.jpeg", "f9.JPG", "f10.png"]
    assert list(snippet.masks) == [1] and snippet.masks[1].endswith("masks/a/f9.png")


def test_a_folder_with_one_frame_is_a_snippet(tmp_path):
    touch(tmp_path, "frames/a/x.png", "masks/a/x.png")
    (snippet,) = find_snippets(tmp_path, "train")
    assert list(snippet.frames) == list(snippet.masks) == [0]


def test_masks_without_a_frame_are_counted(tmp_path):
    touch(tmp_path, "frames/a/x.png", "masks/a/x.png", "masks/a/y.png", "masks/b/z.png")
    found = find_snippets(tmp_path, "train")
    assert found.labels_left_out == 2
    assert describe(found).endswith("2 label files without an image left out")


def test_videos_without_masks_are_for_prediction_only(tmp_path):
    touch(tmp_path, "frames/a/x.png", "masks/a/x.png", "frames/b/x.png")
    assert [s.name for s in find_snippets(tmp_path, "train")] == ["a"]
    assert [s.name for s in find_snippets(tmp_path, "train", require_labels=False)] == ["a", "b"]


@pytest.mark.parametrize(
    "files, error, message",
    [
        (None, FileNotFoundError, r"no folder .*data: set --data\.root"),
        ([], FileNotFoundError, r"no folder .*train/frames: put the frames of each video"),
        (["frames/x.png"], FileNotFoundError, r"no \.png, .* folder of its own"),
        (["frames/a/x.txt"], FileNotFoundError, r"no \.png, \.jpg or \.jpeg frames in"),
        (["frames/a/x.png"], FileNotFoundError, r"no mask in .*masks belongs .*\(0 belong"),
        (["frames/a/x.png", "masks/a/y.png"], FileNotFoundError, r"\(1 belong to none\): put"),
        (["frames/a/x.png", "masks/a/x.jpg"], FileNotFoundError, r"masks/VIDEO/NAME\.png"),
        (["frames/a/x.png", "frames/a/x.jpg"], SampleError, r"two frames in .*a are called x"),
    ],
)
def test_what_is_missing_is_named_with_the_cure(tmp_path, files, error, message):
    root = tmp_path / "data"
    if files is not None:
        root.mkdir()
        touch(root, *files)
    with pytest.raises(error, match=message):
        find_snippets(root, "train")


def test_classes_have_names_with_spaces_and_colours(tmp_path):
    (tmp_path / "classes.txt").write_text("road 128 64 128\n\n  traffic light\nlane 2 9 8 7 \n")
    names, palette = read_classes(tmp_path)
    assert names == ("road", "traffic light", "lane 2")
    assert palette.dtype == np.uint8
    assert palette[[0, 2]].tolist() == [[128, 64, 128], [9, 8, 7]]


def test_255_classes_get_255_colours_beside_those_given(tmp_path):
    # the colour that the second class would get is taken by the first
    (tmp_path / "classes.txt").write_text("c 128 0 0\n" + "\n".join(f"c{i}" for i in range(254)))
    names, palette = read_classes(tmp_path)
    assert len(names) == len(np.unique(palette, axis=0)) == 255


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "names 0 classes: want 1 to 255"),
        ("\n".join(map(str, range(256))), "names 256 classes: want 1 to 255"),
        ("a\nb\na", "names a class twice: a; rename"),
        ("a 1 2 256", r"a colour is r g b, each 0\.\.255; see a"),
    ],
)
def test_a_wrong_class_list_is_named(tmp_path, text, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(SampleError, match=rf"classes\.txt:? {message}"):
        read_classes(tmp_path)


def test_a_missing_class_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*classes\.txt: write one class a line"):
        read_classes(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_is_read_as_class_numbers(tmp_path, dtype):
    write_png(tmp_path / "a.png", np.array([[0, 2, 255]], dtype))
    mask = MaskReader(3)(tmp_path / "a.png")
    assert mask.dtype == np.uint8 and mask.tolist() == [[0, 2, 255]]


@pytest.mark.parametrize("dtype, wrong", [(np.uint8, 3), (np.uint8, 254), (np.uint16, 300)])
def test_a_number_of_no_class_is_named_with_its_file(tmp_path, dtype, wrong):
    write_png(tmp_path / "a.png", np.array([[0, wrong]], dtype))
    with pytest.raises(SampleError, match=rf"a\.png holds the numbers {wrong}, but .* 3 classes"):
        MaskReader(3)(tmp_path / "a.png")


def test_the_mask_reader_and_the_snippets_reach_a_spawned_worker(tmp_path):
    touch(tmp_path, "frames/a/x.png", "masks/a/x.png", "masks/a/y.png")
    found = find_snippets(tmp_path, "train")
    again = pickle.loads(pickle.dumps(found))
    assert list(again) == list(found) and again.labels_left_out == 1
    assert pickle.loads(pickle.dumps(MaskReader(3))) == MaskReader(3)
