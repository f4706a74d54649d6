"""Trains Deep Feature Flow, or a flow network for it.

dff fit          # drawn streets, no data needed
dff fit --config cityscapes_r101 --data.root DIR --trainer.devices 8
dff fit --config cityscapes_r101 --data.root DIR --ckpt_path last
"""


def main(arguments: list[str] | None = None) -> None:
    """Trains as the settings say; those of `streets.yaml` where no config is given."""
    from dff.lit.cli import FitCLI

    FitCLI("streets", arguments)
