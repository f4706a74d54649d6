"""Accuracy and speed of the variants of Deep Feature Flow that a reproduction has trained."""

import copy
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tqdm import tqdm

from dff.data.intervals import EvaluationIntervals
from dff.data.pairs import EvaluationPairs
from dff.inference.recognizer import size_of
from dff.inference.speed import measure_speed
from dff.lit.checkpoints import load_flow_network, load_model
from dff.lit.datamodules.loaders import evaluation_loader, interval_loader
from dff.lit.datamodules.pair_data import PairData
from dff.lit.evaluation.predictor import ABLATIONS
from dff.lit.evaluation.schedule_accuracy import batches_on, schedule_accuracy
from dff.lit.module import LitDFF
from dff.lit.reproduction.runs import Evaluation, Reproduction, read_json, write_json
from dff.lit.reproduction.variants import DFF, FRAME, Variant
from dff.models import build
from dff.models.analysis.clockwork import Clockwork, clockwork_complexity
from dff.models.analysis.complexity import complexity, speedup
from dff.models.dff import DeepFeatureFlow, Propagation

SECONDS = 4.0
"""To measure the speed of a network for, at least."""
SLOW = 0.1
"""Seconds of a frame from which on its time is measured only once."""


def variant_model(
    variant: Variant,
    checkpoint: Path,
    flow_name: build.FlowNetworkName,
    flow_weights: Path | None,
) -> LitDFF:
    """The model of a variant, in eval mode.

    Args:
        variant: The variant.
        checkpoint: Of its training, or of that of its `network_from`.
        flow_name: The flow network to add.
        flow_weights: Its file; None where the checkpoint has all.
    """
    module = load_model(checkpoint, None if variant.trained else variant.classical)
    if flow_weights is not None:
        module.model.use_flow(load_flow_network(flow_name, flow_weights)[0])
    if variant.refreshed is not None:
        # with the face of DeepFeatureFlow
        module.model = cast(DeepFeatureFlow, Clockwork(module.model, variant.refreshed))
    return module.eval()


def evaluate_variant(
    variant: Variant, module: LitDFF, data: PairData, gaps: int, every: int = 1
) -> dict[str, Any]:
    """Accuracy of a variant on held-out pairs.

    Args:
        variant: The variant. The per-frame network is evaluated at gap 0 alone.
        module: Its model, on the device to compute on.
        data: Whose held-out pairs count.
        gaps: The gaps are 0 .. gaps - 1.
        every: Evaluate on every n-th labelled frame, over those that the data takes.

    Returns:
        `accuracy` as of `schedule_accuracy`; `pairs` and `all_pairs`; `seconds`.
    """
    started = time.perf_counter()
    wanted = [0] if variant.name == FRAME.name else list(range(gaps))
    with_flow = variant.refreshed is None and variant.name != FRAME.name
    modes: tuple[Propagation, ...] = ("full",)
    if with_flow:  # a classical flow has no scale field
        modes += ABLATIONS if variant.learned_flow else ("copy",)
    pairs = _pairs(data, wanted, with_flow)
    kept = copy.copy(pairs)
    kept.entries = pairs.entries if every == 1 else pairs.entries[_every(pairs.entries, every)]
    by_key_frame = variant.name != FRAME.name and getattr(module.model, "flow_from", "key") != "key"
    batches = (
        interval_loader(data, EvaluationIntervals(kept))
        if by_key_frame
        else evaluation_loader(data, kept)
    )
    loader = tqdm(batches, desc=variant.name, disable=None, leave=False)
    accuracy = schedule_accuracy(
        module, batches_on(module.device, data, loader), wanted, modes, with_flow
    )
    seconds = time.perf_counter() - started
    return {"accuracy": accuracy, "pairs": len(kept), "all_pairs": len(pairs), "seconds": seconds}


def _pairs(data: PairData, gaps: Sequence[int], with_flow: bool | None = None) -> EvaluationPairs:
    # a loader does not tell what data set it has
    return cast(EvaluationPairs, data.evaluation_pairs(gaps, with_flow=with_flow).dataset)


def _every(entries: np.ndarray, every: int) -> list[int]:
    """Positions of the pairs of every n-th labelled frame: all of its gaps, or none."""
    frames, frame = np.unique(entries[:, :2], axis=0, return_inverse=True)
    every = min(every, len(frames))
    # not the first of each: the first frame of a snippet has gap 0 alone
    return np.flatnonzero(frame.reshape(-1) % every == every // 2).tolist()


def classical_seconds(name: build.ClassicalFlowName, frames: Sequence[torch.Tensor]) -> float:
    """Seconds that a classical flow takes for a pair of frames, each (1, 3, H, W)."""
    flow = build.flow_network(name)
    flow(frames[-1], frames[0])
    started = time.perf_counter()
    flow(frames[-1], frames[0])
    return time.perf_counter() - started


@torch.inference_mode()
def variant_speed(
    module: LitDFF, frames: Sequence[torch.Tensor], key_durations: Sequence[int]
) -> dict[str, Any]:
    """Cost and speed of a model at each key duration.

    Where a frame takes long, the shortest and the longest key duration are measured once, and the
    others follow from the time of a key frame and of any other.

    Args:
        module: In eval mode.
        frames: As many as the longest key duration, each (1, 3, H, W), on its device.
        key_durations: 1 among them.

    Returns:
        `rows`, for each key duration `key_duration`, `fps`, `speedup` over key duration 1 of the
        same measurement, `speedup_eq7`, `ms_key`, `ms_current`; `one_over_r`, None without FLOPs of
        flow; `measured`, the key durations that were.
    """
    model, size = module.model, size_of(frames[0])
    if isinstance(model, Clockwork):
        cost = clockwork_complexity(model, size)
    else:
        cost = complexity(model, size)
    measured = sorted(key_durations)
    ends = [1, measured[-1]]
    model = module.deploy("32-true")
    frames = [frame.contiguous(memory_format=torch.channels_last) for frame in frames]
    speeds = measure_speed(model, frames, ends, rounds=1)
    slowest = max(speeds[0].ms_key, speeds[-1].ms_current or 0.0) / 1e3
    if slowest < SLOW:
        speeds = measure_speed(model, frames, measured, rounds=5, seconds=SECONDS)
    else:
        measured = ends
    found = {speed.key_duration: asdict(speed) for speed in speeds}
    longest = found[measured[-1]]
    rows = []
    for duration in sorted(key_durations):
        row = found.get(duration) or {
            **longest,
            "key_duration": duration,
            "fps": 1e3 * duration / (longest["ms_key"] + (duration - 1) * longest["ms_current"]),
        }
        eq7 = speedup(duration, cost.r)
        rows.append({**row, "speedup": row["fps"] / found[1]["fps"], "speedup_eq7": eq7})
    return {"rows": rows, "one_over_r": cost.one_over_r, "measured": measured}


def thinning(
    variants: Sequence[Variant],
    data: PairData,
    frames: Sequence[torch.Tensor],
    longest: int,
    minutes: float,
) -> dict[str, int]:
    """Every how many labelled frames a slow classical flow is evaluated; says so beforehand.

    Args:
        variants: All variants; those with a flow network are no part of the result.
        data: Whose held-out pairs count.
        frames: Two or more of them, each (1, 3, H, W).
        longest: Key duration that is evaluated.
        minutes: To spend on each.
    """
    every = {}
    for variant in variants:
        flow = variant.classical
        if flow is None or flow == "zero":
            continue
        seconds = classical_seconds(flow, frames)
        pairs = len(_pairs(data, range(longest)))
        every[variant.name] = n = max(1, int(np.ceil(seconds * pairs / (60 * minutes))))
        part = f"one in {n} labelled frames is evaluated" if n > 1 else "all are evaluated"
        print(f"{variant.title}: {seconds:.2f} s a pair, {pairs} pairs: {part}")
    return every


def evaluate_missing(
    work: Reproduction,
    data: PairData,
    every: Mapping[str, int],
    after_each: Callable[[], None] = lambda: None,
) -> list[str]:
    """Evaluates what is trained and not evaluated; what fails is told, and stops nothing else.

    Args:
        work: The reproduction.
        data: Whose held-out pairs count.
        every: Of `thinning`.
        after_each: Called after each evaluation.

    Returns:
        A line for each evaluation that failed.
    """
    failed = []
    for evaluation in work.evaluations:
        if not work.trained(evaluation):
            continue
        try:
            before = work.result(evaluation)
            found = _evaluate(work, evaluation, before, data, every.get(evaluation.variant.name, 1))
        except Exception as error:  # one variant's failure is no other's
            failed.append(failure(f"evaluation of {evaluation.name}", error))
            continue
        if found != before:
            work.write_result(evaluation, found)
            after_each()
    return failed


def _evaluate(
    work: Reproduction,
    evaluation: Evaluation,
    found: dict[str, Any] | None,
    data: PairData,
    every: int,
) -> dict[str, Any]:
    """What an evaluation finds; of what was found before, only what is missing is done again."""
    variant = evaluation.variant
    # `every` follows from a time that was measured: a little less of it is no new task
    if found is None or found.get("every", 1) >= 2 * every:
        print(f"evaluating {evaluation.name}", flush=True)
        module = model_of(work, evaluation)
        found = {**evaluate_variant(variant, module, data, work.longest, every), "every": every}
    dff = work.finished(DFF, evaluation.seed)
    if found.get("every", 1) == 1 or dff is None:
        return found
    code = work.evaluation_code(dff)
    if found.get("dff_code") == code:
        return found
    # other frames are another task: they compare with nothing but DFF on the same
    print(f"evaluating {dff.name} on the frames of {evaluation.name}", flush=True)
    module = model_of(work, dff)
    beside = evaluate_variant(DFF, module, data, work.longest, found["every"])
    return {**found, "dff_code": code, "dff_accuracy": beside["accuracy"]}


def failure(what: str, error: Exception) -> str:
    """A line for the report, told at once too."""
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    line = f"{what}: {kind}{error}"
    print(f"failed: {line}", file=sys.stderr, flush=True)
    return line


def measure_speeds(
    work: Reproduction, frames: Sequence[torch.Tensor]
) -> tuple[dict[str, Any], list[str]]:
    """Speed of all different networks, one after the other, in this process.

    Measured again as soon as there are more of them: only what is measured together compares.

    Args:
        work: The reproduction; what is evaluated is measured.
        frames: As many as the longest key duration.

    Returns:
        Name of the variant that a network runs as -> `variant_speed`; a line for each that failed.
    """
    chosen: dict[str, Evaluation] = {}
    for evaluation in work.evaluations:
        if work.result(evaluation) is not None:
            chosen.setdefault(evaluation.variant.runs_as or evaluation.variant.name, evaluation)
    codes = [[name, work.evaluation_code(evaluation)] for name, evaluation in chosen.items()]
    code = json.dumps([*codes, str(_device())])
    file = work.output / "speed.json"
    before = read_json(file)
    if before is not None and before["code"] == code:
        return before["speeds"], []
    speeds, failed = {}, []
    for name, evaluation in chosen.items():
        print(f"measuring the speed of {name}", flush=True)
        try:
            module = model_of(work, evaluation)
            on_device = [frame.to(_device()) for frame in frames]
            speeds[name] = variant_speed(module, on_device, range(1, work.longest + 1))
        except Exception as error:
            failed.append(failure(f"speed of {name}", error))
    if not failed:
        write_json(file, {"code": code, "speeds": speeds})
    return speeds, failed


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def model_of(work: Reproduction, evaluation: Evaluation) -> LitDFF:
    """The model that an evaluation is of, in eval mode, on the device to compute on."""
    flow = work.base["model"]["init_args"]["flow_network"]
    flow_weights = None if evaluation.flow is None else work.last(evaluation.flow)
    checkpoint = work.last(evaluation.training)
    return variant_model(evaluation.variant, checkpoint, flow, flow_weights).to(_device())
