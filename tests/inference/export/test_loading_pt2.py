"""A compiled model is for one size of frames, so nobody exports it behind a prediction."""

import pytest

from dff.inference.export.loading import load_exported


def test_a_checkpoint_is_not_compiled_for_a_size_that_nobody_knows(tmp_path):
    with pytest.raises(ValueError, match=r"dff export .*m\.ckpt --format pt2 --size"):
        load_exported(tmp_path / "m.ckpt", "pt2")
