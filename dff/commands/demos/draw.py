"""Draws the Streets data set to a folder: python scripts/draw_streets.py data/streets."""

import argparse
from dataclasses import fields

from dff.data.synthetic.streets.dataset import StreetSettings, draw_streets
from dff.lit.cli import run_script


def main() -> None:
    """Reads the settings from the command line and draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("root", help="folder for the data set")
    parser.add_argument(
        "--workers", type=int, help="processes; one for each processor core if left"
    )
    for setting in fields(StreetSettings):
        kind = type(setting.default)
        parser.add_argument(f"--{setting.name}", type=kind, default=setting.default, help=" ")
    options = vars(parser.parse_args())
    root, workers = options.pop("root"), options.pop("workers")
    print(draw_streets(root, StreetSettings(**options), workers))


if __name__ == "__main__":
    run_script(main)
