"""Live and by intervals: the same results, and the key duration decides what runs."""

import pytest
import torch
from networks import SIZE, frames, small_model

from dff.inference.recognizer import recognize_interval, stream
from dff.models.contracts import Flow
from dff.models.schedule import FixedSchedule


@pytest.fixture(scope="module")
def model():
    model = small_model().eval()
    # An untrained head sees one class everywhere: scores about their mean give a picture.
    scores = model.heads["segmentation"].scores
    torch.nn.init.normal_(scores.weight, std=5.0)
    with torch.no_grad():
        scores.bias -= scores(model.encode(frames(7, seed=3))).mean((0, 2, 3))
    return model


@pytest.fixture(scope="module")
def video():
    return [frame.unsqueeze(0) for frame in frames(7, seed=3)]


def live(model, video, duration):
    with torch.inference_mode():
        results = [p["segmentation"] for p in stream(model, video, FixedSchedule(duration))]
    return torch.cat(results)


@pytest.mark.parametrize("duration", [1, 2, 3, 5])
def test_intervals_equal_live(model, video, duration):
    with torch.inference_mode():
        parts = [
            recognize_interval(model, torch.cat(video[i : i + duration]))["segmentation"]
            for i in range(0, len(video), duration)
        ]
    agree = (torch.cat(parts) == live(model, video, duration)).float().mean()
    assert agree > 0.9999  # a batch of convolutions may round a tie the other way


def test_key_duration_1_equals_the_per_frame_network(model, video):
    with torch.inference_mode():
        each = [model.predict(model.encode(frame), SIZE)["segmentation"] for frame in video]
    assert torch.equal(live(model, video, 1), torch.cat(each))
    assert not torch.equal(live(model, video, 1), live(model, video, 5))


@pytest.mark.parametrize(("duration", "encoded", "propagated"), [(1, 7, 0), (3, 3, 4), (7, 1, 6)])
def test_the_key_duration_decides_what_runs(model, video, duration, encoded, propagated):
    calls = {"feature_network": 0, "flow_network": 0}
    hooks = []
    for name in calls:

        def count(*_, name=name):
            calls[name] += 1

        hooks.append(getattr(model, name).register_forward_hook(count))
    live(model, video, duration)
    for hook in hooks:
        hook.remove()
    assert calls == {"feature_network": encoded, "flow_network": propagated}


@pytest.mark.parametrize(("duration", "prepared"), [(1, 0), (3, 2), (7, 1)])
def test_a_key_frame_is_prepared_once_and_only_for_frames_after_it(
    model, video, duration, prepared, monkeypatch
):
    calls = []
    monkeypatch.setattr(model, "prepare", lambda key: calls.append(key) or key)
    live(model, video, duration)
    assert len(calls) == prepared


def test_two_streams_do_not_mix(model, video):
    other = list(reversed(video))
    expected = live(model, video, 3), live(model, other, 3)
    with torch.inference_mode():
        both = list(
            zip(
                stream(model, video, FixedSchedule(3)),
                stream(model, other, FixedSchedule(3)),
                strict=True,
            )
        )
    for i in range(2):
        assert torch.equal(torch.cat([pair[i]["segmentation"] for pair in both]), expected[i])


def test_results_come_at_the_size_asked_for(model, video):
    with torch.inference_mode():
        assert recognize_interval(model, torch.cat(video[:2]), (50, 70))["segmentation"].shape == (
            2,
            50,
            70,
        )


@pytest.mark.parametrize("where", ["key", "flow"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_told_and_not_recognised(video, where, value):
    """Weights are finite, and numbers overflow on the way, as in float16."""
    model = small_model().eval()
    layer = model.feature_network if where == "key" else model.flow_network
    layer.register_forward_hook(lambda _, __, out: _with(out, value))
    with torch.inference_mode(), pytest.raises(ValueError, match=r"NaN or infinite .*float32.*--p"):
        recognize_interval(model, torch.cat(video[:3]))


def _with(out, value):
    """One feature, or one number that the scale field is read from, becomes `value`."""
    changed = (out.context if isinstance(out, Flow) else out).clone()
    changed[-1, 0, 0, 0] = value
    return Flow(out.field, changed) if isinstance(out, Flow) else changed
