"""What a folder is taken for, and what is said of one that is nothing known."""

import pytest

from dff.data.annotations.looking import look
from dff.data.samples import SampleError


@pytest.mark.parametrize("wanted", [None, "coco"])
def test_a_json_that_was_cut_is_named(wanted, tmp_path):
    (tmp_path / "ann.json").write_text('{"images": [')
    with pytest.raises(SampleError, match=r"ann\.json is no JSON \(.*export the labels again"):
        look(tmp_path, wanted)


def test_a_json_of_something_else_is_not(tmp_path):
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(SampleError, match=r"which holds settings\.json: wanted one of"):
        look(tmp_path)
