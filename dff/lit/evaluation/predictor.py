"""VideoPredictor: speed and accuracy of key schedules on held-out videos."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch

from dff.data.files.json_values import nan_to_none
from dff.data.files.whole_files import write_whole
from dff.data.video.clips import clips_of_frames
from dff.data.video.writer import VideoWriter
from dff.inference.engine import Engine
from dff.inference.model import Model
from dff.inference.recognizer import size_of
from dff.inference.results.drawing import draw_predictions, mark_key_frames
from dff.inference.schedules.comparison import ScheduleRow
from dff.inference.schedules.report import figures
from dff.inference.schedules.report import table as schedule_table
from dff.inference.speed import Speed, measure_speed
from dff.lit.datamodules.pair_data import PairData
from dff.lit.evaluation.schedule_accuracy import (
    at_key_duration,
    batches_on,
    measures_of,
    schedule_accuracy,
)
from dff.lit.evaluation.whole_videos import over_whole_videos
from dff.lit.module import LitDFF
from dff.lit.visualization.panels import log_picture, log_video, plot_accuracy_speed
from dff.models.analysis.complexity import Complexity, break_even, complexity, speedup
from dff.models.contracts import Measure
from dff.models.dff import Propagation
from dff.models.schedule import FixedSchedule
from dff.models.schedules.named import AskedSchedule

OVERLAY_FPS = 10
ABLATIONS: tuple[Propagation, ...] = ("copy", "no_scale", "no_flow")


class VideoPredictor(L.Callback):
    """Evaluates the fixed key schedule after training, and in `evaluate`.

    Accuracy follows the paper (Sec. 5): for a key duration l, the l pairs of each labelled frame
    with the frames 0..l-1 before it; one mIoU or mAP for each offset, then their mean. Speed is
    that of the networks alone, frames decoded beforehand; decoding is reported beside it. Prints a
    table, writes `video_predictor.json`, `accuracy_speed.png` and `overlay.mp4` to the run's
    folder, and logs.

    Args:
        key_durations: The key durations l; 1 is the per-frame network and always measured.
        ablations: Also evaluate with the key's result copied, the scale field 1, and the flow 0
            in the same trained model, and the end-point error where the data knows true flow.
        rounds: Timed rounds at least; the median counts.
        seconds: Time to spend on timed rounds at least.
        on_fit_end: Run when training ends.
        overlay_frames: Length at most of `overlay.mp4`, a held-out video under its result.
        schedule: Also run over whole held-out videos by this schedule, "change" or a file that
            `dff fit-schedule` wrote, beside the fixed one with about as many key frames.
        key_duration: The mean one that this schedule keeps to.
        frames_per_second: What it keeps to instead.
        threshold: Of its need for a key frame, instead of both.
    """

    def __init__(
        self,
        key_durations: Sequence[int] = (1, 2, 5, 10),
        ablations: bool = False,
        rounds: int = 3,
        seconds: float = 0.0,
        on_fit_end: bool = True,
        overlay_frames: int = 60,
        schedule: str | None = None,
        key_duration: int | None = None,
        frames_per_second: float | None = None,
        threshold: float | None = None,
    ) -> None:
        for duration in key_durations:
            FixedSchedule(duration)  # says what is wrong with a key duration of 0
        budget = (key_duration, frames_per_second, threshold)
        if schedule is None and budget != (None, None, None):
            raise ValueError(
                "key_duration, frames_per_second and threshold belong to a schedule: set it to "
                "change or to a file that dff fit-schedule wrote; key_durations are those of the "
                "fixed one"
            )
        self.asked = None if schedule is None else AskedSchedule(schedule, *budget)
        self.key_durations = sorted({1, *key_durations})
        self.ablations, self.rounds, self.seconds = ablations, rounds, seconds
        self.runs_on_fit_end, self.overlay_frames = on_fit_end, overlay_frames
        self.report: dict[str, Any] | None = None

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluates what was trained."""
        # Lightning's Trainer has this attribute, and does not declare it
        rehearsal = trainer.fast_dev_run  # type: ignore[attr-defined]
        if self.runs_on_fit_end and not rehearsal and isinstance(pl_module, LitDFF):
            self.run(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluates in `trainer.validate`; validation within training is left alone."""
        if trainer.state.fn == "validate" and isinstance(pl_module, LitDFF):
            self.run(trainer, pl_module)

    def run(self, trainer: L.Trainer, module: LitDFF) -> dict[str, Any]:
        """Measures and reports; the same report in every process."""
        # Asked in every process: the answer comes from the first one by a broadcast.
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        training = module.training
        module.eval()
        with torch.inference_mode(), trainer.precision_plugin.forward_context():
            whole = self._whole_videos(trainer, module)  # first: a schedule may not fit the model
            accuracy = self._accuracy(trainer, module)
            if trainer.is_global_zero:
                self.report = self._join(accuracy, self._speed(trainer, module), whole)
                self._publish(trainer, module, folder, whole)
        module.train(training)
        self.report = trainer.strategy.broadcast(self.report)
        assert self.report is not None  # the first process made one
        return self.report

    def _whole_videos(self, trainer: L.Trainer, module: LitDFF) -> dict[str, list[ScheduleRow]]:
        """Measure -> rows; none where no schedule is asked for."""
        if self.asked is None:
            return {}
        data = _data_of(trainer)
        frames, _ = data.held_out_frames(1)
        return over_whole_videos(
            Model(module.deploy(trainer.precision), module.tasks, module.device),
            data,
            self.asked,
            complexity(module.model, size_of(frames[0])),
            trainer.global_rank,
            trainer.world_size,
        )

    def _accuracy(self, trainer: L.Trainer, module: LitDFF) -> dict[str, Any]:
        gaps, data = list(range(max(self.key_durations))), _data_of(trainer)
        modes: tuple[Propagation, ...] = ("full", *(ABLATIONS if self.ablations else ()))
        share = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        loader = data.evaluation_pairs(
            gaps, self.ablations, **share, flow_from=module.model.flow_from
        )
        batches = batches_on(module.device, data, loader)
        return schedule_accuracy(module, batches, gaps, modes, with_flow=self.ablations)

    def _speed(self, trainer: L.Trainer, module: LitDFF) -> dict[str, Any]:
        frames, decode_seconds = _data_of(trainer).held_out_frames(max(self.key_durations))
        repeats = -(-max(self.key_durations) // len(frames))  # a short video is shown again
        frames = [f.to(module.device) for f in frames] * repeats
        model = module.deploy(trainer.precision)
        rows = measure_speed(model, frames, self.key_durations, self.rounds, self.seconds)
        return {
            "size": list(frames[0].shape[-2:]),
            "ms_decode": 1e3 * decode_seconds,
            "complexity": complexity(module.model, size_of(frames[0])),
            "rows": rows,
        }

    def _join(
        self,
        accuracy: dict[str, Any],
        speed: dict[str, Any],
        whole: dict[str, list[ScheduleRow]],
    ) -> dict[str, Any]:
        report = schedule_rows(speed["rows"], speed["complexity"])
        for row in report["rows"]:
            row |= at_key_duration(accuracy, row["key_duration"])
        measures = measures_of(accuracy)
        return {
            **{f"frame_{name}": accuracy[name]["full"][0] for name in measures},
            "size": speed["size"],
            "ms_decode": speed["ms_decode"],
            **report,
            **{f"{name}_by_gap": accuracy[name] for name in measures},
            "epe_by_gap": accuracy.get("epe"),
            "epe_zero_by_gap": accuracy.get("epe_zero"),
            "whole_videos": {name: list(map(figures, rows)) for name, rows in whole.items()},
        }

    def _publish(
        self,
        trainer: L.Trainer,
        module: LitDFF,
        folder: Path,
        whole: dict[str, list[ScheduleRow]],
    ) -> None:
        assert self.report is not None
        measures = [task.measure for task in module.tasks.values()]
        print(table(self.report, measures))
        for measure in measures:
            if rows := whole.get(measure.name):
                print(f"\n{measure.title} over whole videos\n{schedule_table(rows)}")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "video_predictor.json", json.dumps(nan_to_none(self.report), indent=2))
        plot_accuracy_speed(self.report, measures, folder / "accuracy_speed.png")
        for logger in trainer.loggers:
            for row in self.report["rows"]:
                metrics = {
                    f"video/{name}_l{row['key_duration']}": value
                    for name, value in row.items()
                    if isinstance(value, float)
                }
                logger.log_metrics(metrics, step=trainer.global_step)
            for name, rows in whole.items():
                metrics = {f"video/{name}_{row.schedule}": row.accuracy for row in rows}
                metrics |= {f"video/fps_{row.schedule}": row.fps or 0.0 for row in rows}
                logger.log_metrics(metrics, step=trainer.global_step)
        log_picture(trainer, "video/accuracy_speed", folder / "accuracy_speed.png")
        self._write_overlay(trainer, module, folder / "overlay.mp4")

    def _write_overlay(self, trainer: L.Trainer, module: LitDFF, file: Path) -> None:
        """The held-out video under its result at the largest key duration."""
        frames, _ = _data_of(trainer).held_out_frames(self.overlay_frames)
        pictures = ((frame[0] * 255).byte().permute(1, 2, 0).cpu().numpy() for frame in frames)
        schedule = FixedSchedule(max(self.key_durations))
        engine = Engine(module.deploy(trainer.precision), schedule, module.device)
        with VideoWriter(file, OVERLAY_FPS, size_of(frames[0])) as writer:
            for result in engine.run(clips_of_frames(pictures)):
                if result.error is not None:
                    raise ValueError(result.error)
                drawn = draw_predictions(result.clip.frames, result.predictions, module.tasks)
                mark_key_frames(drawn.numpy(), result.key_frames)
                writer.write(drawn[0].numpy())
        log_video(trainer, "video/overlay", file)


def _data_of(trainer: L.Trainer) -> PairData:
    # Lightning's Trainer has this attribute, and does not declare it
    data: PairData = trainer.datamodule  # type: ignore[attr-defined]
    return data


def schedule_rows(speeds: Sequence[Speed], cost: Complexity) -> dict[str, Any]:
    """Measured speed of each key duration beside Eq. 7's; `speeds` has key duration 1 first."""
    baseline, longest = speeds[0], speeds[-1]
    rows = []
    for speed in speeds:
        measured = speed.fps / baseline.fps
        eq7 = speedup(speed.key_duration, cost.r)
        rows.append(
            {
                **asdict(speed),
                "speedup": measured,
                "speedup_eq7": eq7,
                "ratio": measured / eq7,
            }
        )
    current = longest.ms_current
    return {
        "one_over_r_flops": cost.one_over_r,
        "r_eq5": cost.r,
        "ms_key": longest.ms_key,
        "ms_current": current,
        "head_share_of_key_frame": {n: v / cost.key_frame for n, v in cost.by_head.items()},
        "break_even": current and break_even(baseline.ms_key, longest.ms_key, current),
        "rows": rows,
    }


def table(report: dict[str, Any], measures: Sequence[Measure] = ()) -> str:
    """The report as text: what a key duration costs and gives, and when propagation pays.

    Args:
        report: Of `VideoPredictor`, or of `schedule_rows` with the size of the frames.
        measures: Of the tasks whose accuracy is in it.
    """
    columns = [
        ("l", "key_duration", "{:d}"),
        *(column for measure in measures for column in _accuracy_columns(measure)),
        ("EPE px", "epe", "{:.2f}"),
        ("zero flow", "epe_zero", "{:.2f}"),
        ("fps", "fps", "{:.1f}"),
        ("ms key", "ms_key", "{:.1f}"),
        ("ms non-key", "ms_current", "{:.1f}"),
        ("speed-up", "speedup", "{:.2f}"),
        ("Eq. 7", "speedup_eq7", "{:.2f}"),
        ("ratio", "ratio", "{:.2f}"),
        ("together: fps", "fps_together", "{:.1f}"),
        ("speed-up", "speedup_together", "{:.2f}"),
        ("ratio", "ratio_together", "{:.2f}"),
    ]
    shown = [column for column in columns if column[1] in report["rows"][0]]
    lines = [[title for title, _, _ in shown]]
    for row in report["rows"]:
        values = [(row[name], form) for _, name, form in shown]
        lines.append(["-" if v is None else form.format(v) for v, form in values])
    widths = [max(len(line[i]) for line in lines) for i in range(len(shown))]
    text = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    height, width = report["size"]
    facts = [f"frames of {height}x{width}"]
    if report["one_over_r_flops"] is not None:
        facts.append(f"1/r = {report['one_over_r_flops']:.2f} in FLOPs")
    else:
        facts.append("the classical flow is not counted in FLOPs, so Eq. 7 takes it for free")
    if report.get("ms_decode") is not None:
        facts.append(f"decoding {report['ms_decode']:.1f} ms a frame (not counted)")
    shares = report["head_share_of_key_frame"]
    if len(shares) > 1:  # what a second task costs
        told = (f"{name} {100 * share:.1f} %" for name, share in shares.items())
        facts.append(f"heads, of a key frame's FLOPs: {', '.join(told)}")
    if report["break_even"]:
        facts.append(f"propagation pays from key duration {report['break_even']} on")
    elif report["ms_current"] is not None:
        facts.append("propagation does not pay: it costs no less than the network on each frame")
    return "\n".join([*text, "; ".join(facts)])


def _accuracy_columns(measure: Measure) -> list[tuple[str, str, str]]:
    name = measure.name
    titles: dict[str, str] = {
        measure.title: f"{name}_mean",
        "worst": f"{name}_worst",
        "one run": f"{name}_run",
        "copy": f"copy_{name}_mean",
        "S = 1": f"no_scale_{name}_mean",
        "flow = 0": f"no_flow_{name}_mean",
        **{group: f"{group}_{name}_mean" for group in measure.groups},
    }
    return [(title, key, "{:.3f}") for title, key in titles.items()]
