import pytest

from dff.models.schedule import Evidence, FixedSchedule


def test_one_key_frame_in_every_l():
    keys = [i for i in range(20) if FixedSchedule(5).is_key(Evidence(i, 0))]
    assert keys == [0, 5, 10, 15]
    assert all(FixedSchedule(1).is_key(Evidence(i, 0)) for i in range(5))


@pytest.mark.parametrize("duration", [0, -3])
def test_a_key_duration_below_1_is_refused(duration):
    with pytest.raises(ValueError, match=f"key duration {duration}: wanted at least 1"):
        FixedSchedule(duration)
