"""DFF by a schedule of another kind, beside the fixed one, over whole held-out videos."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dff.data.files.json_values import nan_to_none
from dff.inference.model import Model
from dff.inference.recognizer import size_of
from dff.inference.schedules.report import figures
from dff.lit.datamodules.pair_data import PairData
from dff.lit.evaluation.whole_videos import over_whole_videos
from dff.lit.reproduction.measures import failure, model_of
from dff.lit.reproduction.runs import Evaluation, Reproduction, read_json, write_json
from dff.lit.reproduction.tables import WHOLE, Row
from dff.lit.reproduction.variants import DFF
from dff.models.analysis.complexity import complexity
from dff.models.schedules.named import FIXED, LEARNED, AskedSchedule


def asked_schedules(
    name: str | None, durations: Sequence[int], evaluated: Sequence[str]
) -> list[AskedSchedule]:
    """A schedule with each of some mean key durations.

    Args:
        name: Of the schedule; None is none.
        durations: Those of the tables; where each frame is a key frame there is nothing to decide.
        evaluated: Names of the variants of Table 4.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: There is no such schedule, or no row that it belongs to.
    """
    if name is None:
        return []
    if name == FIXED or DFF.name not in evaluated:
        why = "all of Table 4 has it" if name == FIXED else f"{DFF.name} of Table 4 is left out"
        raise ValueError(
            f"--schedule {name}: {why}; wanted change, or a file that dff fit-schedule wrote, "
            f"together with --table 4 and without --skip {DFF.name}"
        )
    return [AskedSchedule(name, duration) for duration in sorted(set(durations)) if duration > 1]


def schedule_rows(
    work: Reproduction, data: PairData, asked: Sequence[AskedSchedule]
) -> tuple[list[Row], list[str]]:
    """Runs DFF by each schedule over whole videos, where that is not done yet.

    Args:
        work: The reproduction; each seed of DFF that is trained is run.
        data: Whose held-out videos count.
        asked: The schedules.

    Returns:
        Rows for `schedule_table`; a line for each run that failed.
    """
    rows, failed = list[Row](), list[str]()
    for evaluation in work.evaluations:
        if evaluation.variant.name != DFF.name or not work.trained(evaluation):
            continue
        for schedule in asked:
            try:
                found = _found(work, evaluation, data, schedule)
            except Exception as error:  # one schedule's failure is no other's
                what = f"{evaluation.name} by {schedule.name}, l = {schedule.key_duration}"
                failed.append(failure(what, error))
                continue
            rows += _rows(evaluation, schedule, found)
    return rows, failed


def _found(
    work: Reproduction, evaluation: Evaluation, data: PairData, asked: AskedSchedule
) -> dict[str, list[dict[str, Any]]]:
    """Measure -> figures of the rows of `over_whole_videos`."""
    name = f"{evaluation.name}_{asked.title}_l{asked.key_duration}"
    file = work.output / "evaluations" / f"{name}.json"
    schedule = asked.name if asked.title != LEARNED else work.code(Path(asked.name))
    code = json.dumps([work.evaluation_code(evaluation), schedule])
    before = read_json(file)
    if before is not None and before["code"] == code:
        found: dict[str, list[dict[str, Any]]] = before["rows"]
        return found
    print(f"running {evaluation.name} over whole videos: {asked.title}, {asked.key_duration}")
    module = model_of(work, evaluation)
    frames, _ = data.held_out_frames(1)
    cost = complexity(module.model, size_of(frames[0]))
    model = Model(module.deploy("32-true"), module.tasks, module.device)
    rows = over_whole_videos(model, data, asked, cost)
    found = nan_to_none({name: list(map(figures, of_one)) for name, of_one in rows.items()})
    write_json(file, {"code": code, "rows": found})
    return found


def _rows(
    evaluation: Evaluation, asked: AskedSchedule, found: dict[str, list[dict[str, Any]]]
) -> list[Row]:
    """A row for each of the two schedules, as `variant_rows` has them."""
    rows: dict[str, Row] = {}
    for measure, figures_of_all in found.items():
        for own in figures_of_all:
            name = own["schedule"]
            row = rows.setdefault(name, {"variant": WHOLE + name, "title": f"DFF, {name}"})
            row |= {"seed": evaluation.seed, "key_duration": asked.key_duration}
            row |= {f"{measure}_mean": own["accuracy"], f"{measure}_fifth": own["fifth"]}
            row |= {f"{measure}_stretch": own["worst"], "fps": own["fps"]}
            row |= {"speedup_eq7": own["speedup_eq7"], "after_flow": own["after_flow"]}
            row |= {"key_frames": sum(map(len, own["key_frames"]))}
            row |= {"mean_key_duration": own["mean_key_duration"]}
    return list(rows.values())
