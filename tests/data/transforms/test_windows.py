"""Windows of frames of unusual shapes."""

import numpy as np
import pytest

from dff.data.transforms.pairs import EvaluationTransform
from dff.data.transforms.windows import LARGEST_SIDE


@pytest.mark.parametrize("max_side", [None, 200])
def test_of_a_frame_of_two_rows_a_row_is_left(max_side):
    frame = np.full((2, 4000, 3), 7, np.uint8)
    window = EvaluationTransform(64, max_side).window((2, 4000))
    seen = window.image(frame)
    assert seen.shape[:2] == window.size == ((1, 200) if max_side else (8, LARGEST_SIDE))
    assert (seen == 7).all()
