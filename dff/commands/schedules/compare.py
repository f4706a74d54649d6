"""Compares schedules at equal numbers of key frames: what each keeps, and where it loses.

    dff compare-schedules runs/demo/model.ckpt --data Streets --data.cuts 1 --data.stops 1
    dff compare-schedules runs/demo/model.ckpt --videos clip.mp4 --learned schedule.pth

Without labels the model's own result on each frame counts as true.
"""

from dataclasses import replace
from pathlib import Path

from dff.commands.schedules.arguments import asked_model, asked_videos, schedule_parser, tell
from dff.data.files.folders import check_folder
from dff.inference.schedules.comparison import compare
from dff.inference.schedules.measuring import measured_fps
from dff.inference.schedules.observation import observe
from dff.inference.schedules.report import table, write_report
from dff.models.schedule import FixedSchedule, Schedule
from dff.models.schedules.adaptive import AdaptiveSchedule
from dff.models.schedules.named import CHANGE, named_need
from dff.models.schedules.needs import Need


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and writes timelines and a page."""
    parser = schedule_parser(
        "dff compare-schedules",
        __doc__.splitlines()[0],
        "in place of --videos: a data set whose held-out videos are labelled on each frame",
    )
    parser.add_argument("--learned", type=Path, help="a file that dff fit-schedule wrote")
    parser.add_argument("--key_durations", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--no_speed", action="store_true", help="measure no frames per second")
    parser.add_argument("--output", type=Path, default=Path("schedules"), help="folder")
    args = parser.parse_args(arguments)
    for duration in args.key_durations:
        FixedSchedule(duration)
        if duration > args.longest:
            raise ValueError(f"--key_durations {duration}: at most --longest {args.longest}")
    check_folder(args.output)
    needs: dict[str, Need] = {CHANGE: named_need(CHANGE)}
    if args.learned is not None:
        needs["learned"] = named_need(str(args.learned))
    model = asked_model(args)
    videos = asked_videos(parser, args, model, truth=True)
    seen = []
    for video in videos:
        tell(f"{video.name}: {len(video.frames)} frames, from each key frame")
        seen.append(observe(model, video, args.longest, needs))
    task = next(iter(model.tasks.values()))
    rows = compare(task, seen, args.key_durations)
    if not args.no_speed:
        for number, row in enumerate(rows):
            schedule: Schedule
            if row.schedule in needs:
                schedule = AdaptiveSchedule(needs[row.schedule], row.threshold, args.longest)
            elif row.schedule == "fixed":
                schedule = FixedSchedule(int(row.asked))
            else:
                continue
            tell(f"timing {row.schedule}, key duration {row.asked:g}")
            rows[number] = replace(row, fps=measured_fps(model, videos, schedule))
    print(table(rows))
    write_report(args.output, Path(args.model).name, seen, rows)
    print(f"see {args.output / 'index.html'}")
