"""A schedule beside the fixed one over whole videos: what runs found, as rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dff.inference.schedules.comparison import STRETCH, ScheduleRow, row_of_frames
from dff.inference.schedules.measuring import Run
from dff.inference.schedules.observation import accuracy_of
from dff.models.analysis.complexity import Complexity, run_speedup
from dff.models.contracts import Task
from dff.models.schedule import FixedSchedule


def fixed_as_often(runs: Sequence[Run]) -> FixedSchedule:
    """The fixed schedule whose number of key frames over the same videos is nearest to theirs."""
    wanted = sum(len(run.key_frames) for run in runs)

    def distance(duration: int) -> tuple[int, int, int]:
        count = sum(-(-run.frames // duration) for run in runs)
        return abs(count - wanted), count, duration

    return FixedSchedule(min(range(1, max(run.frames for run in runs) + 1), key=distance))


def row_of_runs(
    schedule: str,
    name: str,
    task: Task,
    runs: Sequence[Run],
    cost: Complexity,
    asked: float = float("nan"),
) -> ScheduleRow:
    """What a schedule gives over whole videos; accuracy is that of their labelled frames.

    Args:
        schedule: Its name.
        name: Of the task in the runs.
        task: Of the accuracy.
        runs: One for each video.
        cost: Of the model.
        asked: The mean key duration that was asked for.
    """
    counted = [one for run in runs for one in run.counted[name].values()]
    frames = []
    for run in runs:
        frames.append(np.full(run.frames, np.nan))
        for frame, one in run.counted[name].items():
            frames[-1][frame] = accuracy_of(task, [one])
    key_frames = [run.key_frames for run in runs]
    row = row_of_frames(schedule, asked, key_frames, accuracy_of(task, counted), frames)
    late = sum(run.after_flow for run in runs)
    return replace(
        row,
        # frames far from each other are no stretch
        worst=row.worst if all(_consecutive(run, name) for run in runs) else float("nan"),
        fps=row.frames / sum(run.seconds for run in runs),
        after_flow=late,
        speedup_eq7=run_speedup(cost, row.frames, row.keys, late),
    )


def _consecutive(run: Run, name: str) -> bool:
    labelled = sorted(run.counted[name])
    whole = labelled == list(range(labelled[0], labelled[-1] + 1))
    return whole and len(labelled) >= min(STRETCH, run.frames)
