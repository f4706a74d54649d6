"""Schedules that take key frames where they are needed."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from dff.models.schedule import Evidence, FixedSchedule
from dff.models.schedules.adaptive import AdaptiveSchedule, BudgetSchedule
from dff.models.schedules.cuts import CUT, cut_score
from dff.models.schedules.learned import (
    AgreementHead,
    LearnedNeed,
    evidence_vector,
    loaded_need,
    saved_head,
)
from dff.models.schedules.named import named_schedule
from dff.models.schedules.needs import Change
from dff.models.schedules.oracle import GivenSchedule, best_key_frames


def picture(seed=0, size=(96, 128)):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def test_a_pan_a_shake_and_noise_are_no_cuts_and_another_picture_is_one():
    frame = picture()
    noise = 0.03 * torch.randn(frame.shape, generator=torch.Generator().manual_seed(1))
    for other in (frame, frame.roll(9, 3), frame.roll(-4, 2), (frame + noise).clamp(0, 1)):
        assert cut_score(other, frame) < CUT / 2
    assert cut_score(picture(1), frame) > CUT
    assert cut_score(torch.zeros_like(frame), torch.zeros_like(frame) + 0.002) < CUT


class Given:
    """A need that is told beforehand, by the number of the frame."""

    usual, wants = 0.5, frozenset()

    def __init__(self, values):
        self.values = values

    def __call__(self, evidence):
        return self.values[evidence.index]


def run(schedule, frames, seconds=lambda index, keys: 0.0):
    keys = [0]
    for index in range(1, frames):
        told = Evidence(index, index - keys[-1], len(keys), seconds=seconds(index, len(keys)))
        if schedule.is_key(told):
            keys.append(index)
    return keys


def test_a_key_frame_where_the_need_is_above_the_threshold_or_after_the_longest_wait():
    need = Given([0, 0.1, 0.6, 0.3, 0.9, 0, 0, 0, 0, 0])
    assert run(AdaptiveSchedule(need), 10) == [0, 2, 4]
    assert run(AdaptiveSchedule(need, 0.2), 10) == [0, 2, 3, 4]
    assert run(AdaptiveSchedule(need, 0.7, longest=3), 10) == [0, 2, 4, 7]
    # the same need counts for more, the longer the key frame has served
    assert run(AdaptiveSchedule(Given([0.2] * 10), 0.5), 9) == [0, 3, 6]
    assert AdaptiveSchedule(need).is_key(Evidence(0, 0))


@pytest.mark.parametrize("duration", [2, 5, 10, 12.5])
@pytest.mark.parametrize("kind", ["even", "never", "always", "late", "noise"])
def test_a_budget_of_key_frames_is_held_within_5_percent(duration, kind):
    rng = np.random.default_rng(0)
    needs = {
        "even": np.full(301, 0.5),
        "never": np.zeros(301),
        "always": np.full(301, 1e6),
        "late": np.where(np.arange(301) < 150, 1e-4, 0.9),
        "noise": rng.lognormal(-1, 2, 301),
    }[kind]
    keys = run(BudgetSchedule(Given(needs), duration), 300)
    assert len(keys) == pytest.approx(300 / duration, rel=0.05)


def test_a_budget_goes_where_the_need_is():
    needs = np.where(np.arange(3001) // 100 % 2 == 0, 0.01, 1.0)
    keys = np.array(run(BudgetSchedule(Given(needs), 10), 3000))
    calm = (keys // 100 % 2 == 0).mean()
    assert calm < 0.4
    assert len(keys) == pytest.approx(300, rel=0.05)


def test_a_cut_is_a_key_frame_even_where_the_budget_is_spent():
    needs = np.zeros(301)
    needs[[40, 41, 42, 43, 44]] = math.inf
    keys = run(BudgetSchedule(Given(needs), 20), 300)
    assert {40, 41, 42, 43, 44} <= set(keys)
    assert len(keys) == pytest.approx(15, abs=1)


@pytest.mark.parametrize("rate", [12.0, 20.0])
def test_a_rate_is_held_by_the_clock(rate):
    """Key frames of 0.2 s, others of 0.02 s: between 5 and 50 frames a second are to be had."""
    needs = np.random.default_rng(0).lognormal(-1, 1, 301)

    def seconds(index, keys):
        return 0.2 * keys + 0.02 * (index - keys)

    schedule = BudgetSchedule(Given(needs), frames_per_second=rate)
    assert "seconds" in schedule.wants
    keys = len(run(schedule, 300, seconds))
    assert 300 / seconds(300, keys) == pytest.approx(rate, rel=0.05)


def test_a_rate_below_that_of_key_frames_makes_all_of_them_and_one_out_of_reach_none():
    needs = np.full(301, 0.5)

    def seconds(index, keys):
        return 0.2 * keys + 0.02 * (index - keys)

    slow, fast = (BudgetSchedule(Given(needs), frames_per_second=r) for r in (2.0, 200.0))
    assert len(run(slow, 300, seconds)) > 280
    assert len(run(fast, 300, seconds)) < 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AdaptiveSchedule(Given([]), 0.0), "threshold 0.0: wanted more than 0"),
        (lambda: BudgetSchedule(Given([]), 0.5), "mean key duration 0.5: wanted 1 or more"),
        (lambda: BudgetSchedule(Given([]), frames_per_second=-1), "-1 frames per second"),
        (lambda: BudgetSchedule(Given([])), "either key_duration or frames_per_second"),
        (lambda: BudgetSchedule(Given([]), 5, 5), "either key_duration or frames_per_second"),
        (lambda: named_schedule("fixed", threshold=1), "threshold with the fixed schedule"),
        (lambda: named_schedule("change", 5, 25), "key_duration and frames_per_second for one"),
        (lambda: named_schedule("chnage"), "schedule 'chnage': wanted fixed, change, or a file"),
        (lambda: named_schedule("no/such.pth"), "no learned schedule at no/such.pth"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(make, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said) as told:
        make()
    assert "\n" not in str(told.value)


def test_a_file_that_holds_no_schedule_is_named(tmp_path):
    file = tmp_path / "other.pth"
    torch.save({"weights": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match=r"other.pth holds no learned schedule: give a file that"):
        named_schedule(str(file))


def test_names_give_the_schedules():
    assert named_schedule() == FixedSchedule(5)
    assert named_schedule("fixed", 7) == FixedSchedule(7)
    assert named_schedule("change") == AdaptiveSchedule(Change())
    assert named_schedule("change", threshold=0.1) == AdaptiveSchedule(Change(), 0.1)
    assert named_schedule("change", 10) == BudgetSchedule(Change(), 10)
    assert named_schedule("change", None, 25.0) == BudgetSchedule(Change(), None, 25.0)


def evidence(difference=0.1, inside=1.0, context=None):
    frame = picture()
    maps = torch.tensor([difference * inside, inside]).view(1, 2, 1, 1).expand(1, 2, 24, 32)
    return Evidence(
        5,
        3,
        1,
        frame=frame,
        previous=frame,
        flow=torch.ones(1, 2, 24, 32),
        differences=maps,
        difference=difference,
        context=context,
    )


def test_change_counts_what_comes_into_view_and_a_cut_beyond_all():
    assert Change(unseen=0.5)(evidence(0.1)) == pytest.approx(0.1)
    assert Change(unseen=0.5)(evidence(0.1, inside=0.0)) == pytest.approx(0.5)
    cut = Evidence(5, 3, frame=picture(), previous=picture(7), differences=torch.zeros(1, 2, 4, 4))
    assert Change()(cut) == math.inf


def test_a_learned_need_is_what_its_head_foretells_and_survives_its_file(tmp_path):
    vector = evidence_vector(evidence(context=torch.rand(1, 7, 6, 8)))
    head = AgreementHead(len(vector)).eval()
    need = LearnedNeed(head, usual=0.2)
    told = evidence(context=torch.rand(1, 7, 6, 8, generator=torch.Generator().manual_seed(3)))
    with torch.no_grad():
        expected = 1 - float(head(evidence_vector(told).unsqueeze(0)))
    assert need(told) == pytest.approx(expected)
    torch.save(saved_head(head, 0.2), tmp_path / "schedule.pth")
    again = loaded_need(torch.load(tmp_path / "schedule.pth", weights_only=True))
    assert again(told) == pytest.approx(expected) and again.usual == 0.2
    assert isinstance(named_schedule(str(tmp_path / "schedule.pth"), 10), BudgetSchedule)
    with pytest.raises(ValueError, match="trained with another flow network"):
        need(evidence(context=None))


def test_the_oracle_is_no_worse_than_any_choice():
    accuracy = np.random.default_rng(0).random((8, 5))
    for count in (2, 3, 4):
        keys = best_key_frames(accuracy, count)
        assert len(keys) == count and keys[0] == 0

        def total(keys):
            gaps = [f - max(k for k in keys if k <= f) for f in range(8)]
            if max(gaps) >= 5:
                return -math.inf
            return sum(accuracy[f, g] for f, g in enumerate(gaps))

        best = max(total([0, *others]) for others in combinations(range(1, 8), count - 1))
        assert total(keys) == pytest.approx(best)
    with pytest.raises(ValueError, match="1 key frames for 8 frames, each serving at most 5"):
        best_key_frames(accuracy, 1)
    assert run(GivenSchedule(frozenset({0, 3})), 6) == [0, 3]
