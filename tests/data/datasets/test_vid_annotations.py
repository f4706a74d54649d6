import numpy as np
import pytest
from vid_layout import annotation

from dff.data.datasets.imagenet_vid.annotations import (
    CLASSES,
    WORDNET_IDS,
    read_annotation,
    read_annotations,
)
from dff.data.samples import SampleError

GOOD = (0, 3, (5, 6, 70, 60))


@pytest.fixture
def write(tmp_path):
    def made(text, name="a.xml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return made


def test_the_30_classes_are_in_the_order_of_the_evaluation():
    assert len(set(CLASSES)) == len(set(WORDNET_IDS)) == 30
    assert (CLASSES[0], CLASSES[9], CLASSES[29]) == ("airplane", "domestic_cat", "zebra")
    assert (WORDNET_IDS[0], WORDNET_IDS[6]) == ("n02691156", "n02958343")
    assert list(CLASSES) == sorted(CLASSES)


def test_a_file_is_its_boxes(write):
    found = read_annotation(write(annotation([GOOD, (29, 0, (0, 0, 111, 79))])))
    assert (found.height, found.width) == (80, 112)
    assert found.rows == [(5, 6, 70, 60, 0, 3), (0, 0, 111, 79, 29, 0)]
    assert found.clipped == 0
    image = read_annotation(write(annotation([GOOD], tracked=False)))
    assert image.rows == [(5, 6, 70, 60, 0, -1)]
    assert read_annotation(write(annotation([]))).rows == []


def test_a_number_that_several_objects_have_is_no_track(write):
    things = [(0, 3, (1, 1, 5, 5)), (1, 3, (2, 2, 9, 9)), (1, 4, (3, 3, 9, 9))]
    assert [row[5] for row in read_annotation(write(annotation(things))).rows] == [-1, -1, 4]


def test_boxes_are_clipped_to_the_image_and_counted(write):
    path = write(annotation([(0, 0, (-3, 0, 112, 40)), (1, 1, (5, 5, 5, 5)), GOOD]))
    found = read_annotation(path)
    assert found.rows[0][:4] == (0, 0, 111, 40) and found.rows[1][:4] == (5, 5, 5, 5)
    assert (found.clipped, found.beyond) == (1, 3)


def test_classes_of_det_that_are_not_among_the_30_are_passed_over(write):
    path = write(annotation([("n00007846", 0, (1, 1, 5, 5)), GOOD]))
    assert [row[4] for row in read_annotation(path, other_classes=True).rows] == [0]
    with pytest.raises(SampleError, match=r"object of class 'n00007846': want one of the 30"):
        read_annotation(path)
    with pytest.raises(SampleError, match=r"object of class 'car': want a WordNet id"):
        read_annotation(write(annotation([("car", 0, (1, 1, 5, 5))])), other_classes=True)


BOMB = '<!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY c "&a;&a;">]>'
WRONG = {
    "is cut short or no XML": annotation([GOOD])[:-30],
    "is cut short or no XML .no element": "",
    "is no annotation, but a <html>": "<html></html>",
    r"has no <size/height>, where a number": annotation([]).replace("height", "h"),
    r"has no <bndbox/xmax>": annotation([GOOD]).replace("xmax", "x"),
    r"has 'nan' as <bndbox/xmin>": annotation([(0, 0, ("nan", 1, 5, 5))]),
    r"has 'one' as <bndbox/ymin>": annotation([(0, 0, (1, "one", 5, 5))]),
    r"has 1e\+99 as <trackid>": annotation([(0, "1e99", (1, 1, 5, 5))]),
    r"image is 0x112": annotation([], size=(0, 112)),
    r"image is 1e\+10x112": annotation([], size=(10**10, 112)),
    r"a box that ends before it begins, x 9 to 5, y 1 to 5": annotation([(0, 0, (9, 1, 5, 5))]),
    r"ends before it begins, x 1 to 5, y 9 to 5": annotation([(0, 0, (1, 9, 5, 5))]),
    r"a box outside its image of 80x112, x 112 to 120": annotation([(0, 0, (112, 1, 120, 5))]),
    r"outside its image of 80x112, x 1 to 5, y -9 to -1": annotation([(0, 0, (1, -9, 5, -1))]),
    r"object of class '': want one of the 30": annotation([GOOD]).replace("name>", "n>"),
    r"declares a document type": BOMB + annotation([GOOD]),
    r"declares a document type or entities": '<?xml version="1.0"?>\n' + BOMB + annotation([GOOD]),
    r"is no text": ('<?xml version="1.0" encoding="utf-16"?>' + BOMB).encode("utf-16"),
    r"is no text \(it holds zero bytes": (BOMB + annotation([GOOD])).encode("utf-16-le"),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_file_that_cannot_be_used_is_named_with_reason_and_cure(write, message):
    with pytest.raises(SampleError, match=rf"a\.xml.*{message}.*") as caught:
        read_annotation(write(WRONG[message]))
    assert any(cure in str(caught.value) for cure in ("unpack it again", "correct it"))
    assert "\n" not in str(caught.value)


def test_a_missing_or_huge_file_is_named(tmp_path, write, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"b\.xml is missing: unpack it again"):
        read_annotation(tmp_path / "b.xml")
    monkeypatch.setattr("dff.data.datasets.imagenet_vid.annotations._LARGEST", 10)
    with pytest.raises(SampleError, match="bytes, which no annotation has"):
        read_annotation(write(annotation([])))


def test_many_files_are_flat_arrays_and_damage_is_told(write):
    paths = [
        write(annotation([GOOD, (0, 4, GOOD[2])]), "a.xml"),
        write("<annotation>", "b.xml"),
        write(annotation([], size=(50, 60)), "c.xml"),
        write(annotation([(8, 1, (0, 0, 112, 10))]), "d.xml"),
    ]
    found = read_annotations(paths)
    assert found.sizes.tolist() == [[80, 112], [0, 0], [50, 60], [80, 112]]
    assert found.counts.tolist() == [2, 0, 0, 1]
    assert found.corners.tolist() == [[5, 6, 70, 60]] * 2 + [[0, 0, 111, 10]]
    assert found.labels.tolist() == [0, 0, 8] and found.tracks.tolist() == [3, 4, 1]
    assert list(found.problems) == [1] and "b.xml is cut short" in found.problems[1]
    assert (found.clipped, found.beyond) == (1, 1)
    assert found.corners.dtype == np.float32 and found.labels.dtype == np.uint8
    assert read_annotations([]).corners.shape == (0, 4)
