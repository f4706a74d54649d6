"""Spoilt files and the readers, for a fixed seed and a short time; `fuzz.py` goes on for longer."""

import random

import pytest
from fuzz import fuzz, spoil


@pytest.mark.timeout(900)
def test_no_spoilt_file_crashes_hangs_or_puzzles():
    tried, found = fuzz(35, [])
    assert not found, "\n".join(found)
    assert len(tried) > 25  # each reader has had its turn


def test_the_same_number_is_the_same_input():
    data = bytes(range(256)) * 4
    spoilt = [spoil(data, random.Random(seed)) for seed in range(200)]
    assert spoilt == [spoil(data, random.Random(seed)) for seed in range(200)]
    assert len(set(spoilt)) > 190 and data not in spoilt
    assert spoil(b"", random.Random(0)) == b""
