"""Pairs per second beside decoding alone: what is decoded is counted right."""

import cv2
import numpy as np

from dff.commands.data import benchmark_data
from dff.data.files.images import read_image, write_png


def test_every_image_of_a_pair_is_decoded_once_more(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.jpg"), np.zeros((8, 8, 3), np.uint8))

    class Pairs:
        def __getitem__(self, draw):
            return [read_image(tmp_path / name) for name in ("a.png", "b.jpg")[: draw + 1]]

    before = cv2.imdecode
    figures = benchmark_data.decoding(Pairs(), [0, 1, 1])
    assert figures["images"] == {"PNG": 3, "JPEG": 2}
    assert figures["process_pairs_per_second"] > 0 < figures["decode_pairs_per_second"]
    assert cv2.imdecode is before


def test_drawn_pairs_have_no_decode_limit():
    figures = benchmark_data.decoding([0, 1], [0, 1])
    assert figures["images"] == {} and figures["decode_pairs_per_second"] is None
    said = benchmark_data.text(
        {"data": "Drawn", "pairs": 2, "loader_pairs_per_second": 1.0, **figures}
    )
    assert "drawn frames" in said and "ratio" not in said
