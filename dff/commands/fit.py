"""Trains Deep Feature Flow, or a flow network for it.

python scripts/fit.py          # drawn streets, no data needed
python scripts/fit.py --config configs/cityscapes_r101.yaml --data.root DIR --trainer.devices 8
python scripts/fit.py --config configs/cityscapes_r101.yaml --data.root DIR --ckpt_path last
"""

from pathlib import Path

from dff.lit.cli import FitCLI, run_script

CONFIGS = Path(__file__).parents[1] / "configs"

if __name__ == "__main__":
    run_script(lambda: FitCLI(CONFIGS / "streets.yaml") and None)
