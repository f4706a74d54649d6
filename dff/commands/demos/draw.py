"""Draws the Streets data set to a folder: dff draw data/streets."""

import argparse
from dataclasses import fields

from dff.data.synthetic.streets.settings import StreetSettings


def main(arguments: list[str] | None = None) -> None:
    """Reads the settings from the command line and draws."""
    parser = argparse.ArgumentParser(
        prog="dff draw",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("root", help="folder for the data set")
    parser.add_argument(
        "--workers", type=int, help="processes; one for each processor core if left"
    )
    for setting in fields(StreetSettings):
        kind = type(setting.default)
        parser.add_argument(f"--{setting.name}", type=kind, default=setting.default, help=" ")
    options = vars(parser.parse_args(arguments))
    root, workers = options.pop("root"), options.pop("workers")

    from dff.data.synthetic.streets.dataset import draw_streets

    print(draw_streets(root, StreetSettings(**options), workers))
