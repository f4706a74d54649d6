"""Trains a schedule that foretells where carried results would differ, on unlabelled videos.

    dff fit-schedule runs/demo/model.ckpt --videos 'my_videos/*.mp4' --output schedule.pth
    dff predict runs/demo/model.ckpt video.mp4 --schedule schedule.pth --key_duration 10

The model stays as it is; its own results on each frame are what the schedule learns from.
"""

from pathlib import Path

import torch

from dff.commands.schedules.arguments import asked_model, asked_videos, schedule_parser, tell
from dff.data.files.whole_files import whole_file
from dff.inference.schedules.fitting import fit_agreement
from dff.models.schedules.learned import saved_head


def main(arguments: list[str] | None = None) -> None:
    """Trains, says how well it foretells, and writes the file."""
    parser = schedule_parser(
        "dff fit-schedule",
        __doc__.splitlines()[0],
        "in place of --videos: a data set, of whose training split labels are not read",
    )
    parser.add_argument("--every", type=int, default=3, help="begin at every n-th frame")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("schedule.pth"))
    args = parser.parse_args(arguments)
    if args.every < 1:
        raise ValueError(f"--every {args.every}: wanted 1 or more")
    model = asked_model(args)
    videos = asked_videos(parser, args, model, truth=False)
    found = fit_agreement(model, videos, args.longest, args.every, args.seed, tell)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(args.output) as part:
        torch.save(saved_head(found.head, found.usual), part)
    print(
        f"trained on {found.pairs} pairs of frames; on {found.held_out} others the agreement is "
        f"foretold with a mean error of {found.error:.3f} (by the gap alone: "
        f"{found.error_by_gap:.3f}) and a rank correlation of {found.correlation:.2f}"
    )
    print(f"see dff predict ... --schedule {args.output} --key_duration 10")
