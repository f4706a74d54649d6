"""The options of a schedule, the same for all verbs that take one."""

import argparse


def add_schedule(
    parser: argparse.ArgumentParser, default: str | None = "fixed", what: str = ""
) -> None:
    """Adds `--schedule` and its budgets.

    Args:
        parser: Takes them.
        default: What `--schedule` is if left out.
        what: What the verb does with the schedule, where that is not plain.
    """
    parser.add_argument(
        "--schedule",
        default=default,
        help=f"{what}fixed; change, where the frame differs from the warped key frame; or a file "
        "that dff fit-schedule wrote, where the result would differ",
    )
    parser.add_argument(
        "--key_duration",
        type=int,
        help="one key frame in every l (5), or in l on average where the schedule is another one",
    )
    parser.add_argument(
        "--frames_per_second",
        type=float,
        help="of the networks: in place of --key_duration for the schedules that are not fixed",
    )
    parser.add_argument(
        "--threshold", type=float, help="of a frame's need for a key frame, in place of both"
    )
