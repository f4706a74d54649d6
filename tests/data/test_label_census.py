"""What masks hold, looked at before a training begins."""

from collections import Counter

import numpy as np
import pytest

from dff.data import label_census
from dff.data.datasets.folder import MaskReader
from dff.data.files.images import write_png
from dff.data.label_census import check_masks, count_labels
from dff.data.samples import SampleError

NAMES = ("background", "object", "other")


@pytest.fixture
def masks(tmp_path):
    """Writes masks, each of some numbers in equal parts: masks([0, 1], [255], ...)."""

    def write(*contents):
        files = []
        for number, content in enumerate(contents):
            files.append(str(tmp_path / f"{number}.png"))
            write_png(files[-1], np.repeat(np.array(content, np.uint8), 100).reshape(10, -1))
        return files

    return write


def told(files, classes=2, **kwargs):
    return check_masks(files, MaskReader(classes), NAMES[:classes], **kwargs)


@pytest.mark.parametrize("only", [0, 1])
@pytest.mark.parametrize("classes", [2, 3])
def test_one_class_and_255_is_an_error_that_explains_255(masks, only, classes):
    files = masks([only, only, only, 255], [only])
    with pytest.raises(SampleError) as error:
        told(files, classes)
    assert error.match(
        rf"the 2 masks hold no class but {only} \({NAMES[only]}\), and 20 % .* 255, which means "
        rf"ignored.*: write .* 0\.\.{classes - 1} \(for two classes 0 and 1, not 0 and 255\)"
    )
    assert told(files, classes, held_out=True).startswith("none of the 2 masks holds the class")


@pytest.mark.parametrize("held_out", [False, True])
def test_masks_without_a_labelled_pixel_are_an_error(masks, held_out):
    with pytest.raises(SampleError, match="no pixel of the 3 masks is labelled, all are ignored"):
        told(masks([255], [255], [255, 255]), held_out=held_out)


def test_classes_that_no_mask_holds_are_said_in_one_line(masks):
    assert told(masks([0, 1], [255], [2]), 3) == ""
    assert told(masks([0, 1], [1]), 3) == "none of the 2 masks holds the class 2 (other)"
    line = told(masks([0, 0, 0, 2, 255], [2] * 5), 3)
    assert line == (
        "none of the 2 masks holds the class 1 (object); 10 % of their pixels are ignored (255)"
    )
    assert told(masks([0]), 3).endswith("holds the classes 1 (object), 2 (other)")
    assert told(masks([0, 1]), 3, held_out=True) == ""
    assert check_masks(masks([0, 255]), MaskReader(1), ("all",)) == ""


def test_no_more_masks_are_read_than_tell_something_new(masks, monkeypatch):
    read = Counter()

    def count(path):
        read[path] += 1
        return MaskReader(3)(path)

    files = masks(*([[0, 1, 2]] * 20))
    assert count_labels(files, count, 3).looked_at == read.total() == 1
    monkeypatch.setattr(label_census, "MOST", 4)
    files = masks(*([[0, 1]] * 20))
    line = check_masks(files, MaskReader(3), NAMES)
    assert line == "none of the 4 masks that were looked at, of 20, holds the class 2 (other)"
    # that there is one class alone is said of all masks, and so all are looked at
    contents = [[0, 255]] * 20
    with pytest.raises(SampleError, match="the 20 masks hold no class but 0"):
        told(masks(*contents))
    rare = np.random.default_rng(0).permutation(20)[-1]
    contents[rare] = [0, 1]
    assert told(masks(*contents)) == ""


def test_damaged_masks_are_passed_over_where_that_is_wished(masks, tmp_path):
    files = [*masks([0, 1]), str(tmp_path / "gone.png")]
    (tmp_path / "text.png").write_text("no picture")
    files.append(str(tmp_path / "text.png"))
    assert told(files, 3, skip_damaged=True) == (
        "none of the 1 masks that were looked at, of 3, holds the class 2 (other)"
    )
    with pytest.raises((SampleError, FileNotFoundError), match=r"gone\.png|text\.png"):
        told(files, 3)
    assert told(files[1:], 3, skip_damaged=True) == ""
