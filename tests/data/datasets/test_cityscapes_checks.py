"""Files of Cityscapes that hold something else than their names say."""

import numpy as np
import pytest
from small import DATA

from dff.data.datasets.cityscapes import find_snippets, read_instance_boxes, read_train_ids
from dff.data.datasets.cityscapes_checks import check_instance_ids, check_label_ids
from dff.data.files.images import write_png
from dff.data.samples import SampleError

MINI = DATA / "cityscapes_mini"
FAULTY = DATA / "faults" / "cs_trainids_renamed"


@pytest.fixture
def files(tmp_path):
    """Writes labelIds files, each of some ids: files([7, 8], ...); kind and type may be others."""

    def write(*contents, kind="labelIds", dtype=np.uint8):
        paths = []
        for number, content in enumerate(contents):
            name = f"a_000000_{number:06d}_gtFine"
            paths.append(str(tmp_path / f"{name}_labelIds.png"))
            ids = np.repeat(np.array(content, dtype), 8).reshape(4, -1)
            write_png(tmp_path / f"{name}_{kind}.png", ids)
        return paths

    return write


@pytest.mark.parametrize("content", [[0, 1, 2, 255], [255, 18], [0, 8, 10, 13, 255]])
def test_255_and_nothing_above_18_are_train_ids(files, content):
    (path,) = files(content)
    with pytest.raises(
        SampleError, match=r"labelIds\.png holds 255 and no id above 18, .*: put the"
    ):
        read_train_ids(path)


@pytest.mark.parametrize("content", [[255], [7, 8, 11, 4], [0, 7], [7, 26, 255], [0, 1, 2, 3]])
def test_what_may_be_label_ids_is_read(files, content):
    (path,) = files(content)
    assert read_train_ids(path).shape == (4, 2 * len(content))
    check_label_ids([path])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_train_ids_without_255_are_told_by_the_split(files, dtype):
    street, forest = [0, 1, 2, 8, 10, 13], [0, 8, 9]
    with pytest.raises(SampleError, match=r"no id above 18 in files called labelIds, .*_000000_g"):
        check_label_ids(files([0, 2], street, forest, dtype=dtype))
    check_label_ids(files([7, 10], [7, 21], [7, 9]))  # a rail track, and elsewhere trees
    paths = files(*([street] * 41))
    for path in paths[1:]:  # more files are not looked at, and one that is damaged is passed over
        open(path, "wb").close()
    with pytest.raises(SampleError, match="no id above 18"):
        check_label_ids(paths)
    check_label_ids([])


def test_label_ids_in_files_called_instance_ids_are_told(files):
    kind = {"kind": "instanceIds"}
    (path,) = files([7, 24, 26], **kind)
    told = r"instanceIds\.png has 8 bit, .* holds label ids: put the \*_gtFine_instanceIds"
    with pytest.raises(SampleError, match=told):
        read_instance_boxes(path.replace("labelIds", "instanceIds"))
    paths = files([7, 24], [7, 26, 11], dtype=np.uint16, **kind)
    with pytest.raises(SampleError, match="no instance in files called instanceIds, such as"):
        check_instance_ids(paths)
    check_instance_ids(files([7, 24], [26001, 7], dtype=np.uint16, **kind))
    check_instance_ids(files([7, 11], [8, 21], dtype=np.uint16, **kind))  # an empty street
    (path,) = files([7, 11], **kind)
    assert len(read_instance_boxes(path.replace("labelIds", "instanceIds")).corners) == 0


@pytest.mark.skipif(not MINI.is_dir(), reason=f"no real Cityscapes at {MINI}: set DFF_SHARED")
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_files_pass(split):
    labels = [file for s in find_snippets(MINI, split) for file in s.masks.values()]
    check_label_ids(labels)
    for file in labels:
        check_label_ids([file])
    if split == "train":
        check_instance_ids(labels)


@pytest.mark.skipif(not FAULTY.is_dir(), reason=f"no files at {FAULTY}: set DFF_SHARED")
def test_renamed_files_do_not():
    labels = [file for s in find_snippets(FAULTY, "train") for file in s.masks.values()]
    with pytest.raises(SampleError, match="no id above 18"):
        check_label_ids(labels)
