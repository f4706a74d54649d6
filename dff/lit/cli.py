"""The command line of training."""

import os
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import Namespace
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar, TQDMProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info

from dff import configs
from dff.inference.deploy.precision import usable_precision
from dff.inference.own_data.settings import settings_of
from dff.lit import (
    distillation,  # noqa: F401  (so short names resolve)
    flow,  # noqa: F401  (so short names resolve)
    module,
)
from dff.lit.arguments import FitParser, config_files, with_config_files
from dff.lit.checkpoint_writer import Checkpoints
from dff.lit.checkpoints import check_continued, last_checkpoint
from dff.lit.datamodules import by_name  # noqa: F401  (so short names resolve)
from dff.lit.evaluation.flow_quality import FlowMonitor
from dff.lit.evaluation.predictor import VideoPredictor
from dff.lit.loggers.wandb_logger import logged_in
from dff.lit.optimization.divergence import StopsAtNaN
from dff.lit.progress import Throughput
from dff.lit.visualization.panels import Panels

AUTO = "auto"
"""The config of data of your own."""
WANDB = "dff.lit.loggers.wandb_logger.OfflineWandb"


class FitCLI(LightningCLI):
    """`fit` without the word: model, data and trainer from a config and flags.

    Args:
        default_config: The config of a run for which none is given, by name or as a file.
        args: Arguments in place of the command line's.
    """

    def __init__(self, default_config: str | Path, args: ArgsType = None) -> None:
        self.default_config = str(default_config)
        # What validation logs is gathered from all processes before, so that they log the same.
        warnings.filterwarnings("ignore", r"It is recommended to use `self\.log\('val/")
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_class=FitParser,
            parser_kwargs={"prog": "dff"},
            args=args,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Puts `fit`, and the default config where none is given, before the arguments."""
        given = list(sys.argv[1:] if args is None else args)
        if not any(str(a).split("=")[0] in ("--config", "-c") for a in given):
            default = AUTO if _names_auto(given) else self.default_config
            given = ["--config", default, *given]
        self._given = with_config_files(given)
        self.config = parser.parse_args(["fit", *self._given])

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what belongs to a run and not to the trainer."""
        parser.add_argument("--name", type=str, default="dff", help="name of the run")
        parser.add_argument("--output", type=str, default="runs", help="folder of all runs")
        parser.add_lightning_class_args(Checkpoints, "checkpoint")
        parser.add_lightning_class_args(VideoPredictor, "video_predictor")
        parser.add_lightning_class_args(Panels, "panels")
        parser.add_lightning_class_args(FlowMonitor, "flow_monitor")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/miou",
                "checkpoint.mode": "max",
                "checkpoint.save_last": True,
                "checkpoint.filename": "{step}",
                "checkpoint.save_on_exception": True,
            }
        )

    def _parse_ckpt_path(self) -> None:
        """Leaves the settings as given; Lightning would put the checkpoint's in their place."""

    def before_instantiate_classes(self) -> None:
        """Chooses loggers and what data of your own tells; resolves `--ckpt_path last`."""
        config = self.config["fit"]
        if config.data.class_path.rpartition(".")[2] == "Auto":
            self._take_settings_of_data(config)
        if config.ckpt_path == "last":
            # Lightning would only warn, and begin again from nothing.
            config.ckpt_path = str(last_checkpoint(Path(config.output) / config.name))
        if config.ckpt_path not in (None, "hpc") and "://" not in config.ckpt_path:
            model = config.model.class_path.rpartition(".")[2]
            steps, epochs = check_continued(config.ckpt_path, model)
            limits = config.trainer.max_steps, config.trainer.max_epochs
            if 0 <= limits[0] <= steps or 0 <= (limits[1] or -1) <= epochs:
                print(
                    f"nothing is left to train: {config.ckpt_path} has {steps} steps and {epochs} "
                    "epochs. A larger --trainer.max_steps or --trainer.max_epochs goes on"
                )
        if config.trainer.logger in (None, True):
            config.trainer.logger = default_loggers(config.output, config.name)
        if not config.trainer.logger and config.trainer.default_root_dir is None:
            # it would be the current folder
            config.trainer.default_root_dir = str(Path(config.output) / config.name)
        loggers = config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if getattr(logger, "class_path", "").endswith(".WandbLogger"):
                logger.class_path = WANDB
        by_hand = _precision_by_hand(self._given)
        config.trainer.precision = usable_precision(
            config.trainer.precision or "32-true", config.trainer.accelerator, by_hand
        )

    def _take_settings_of_data(self, config: Namespace) -> None:
        """Sets what the labels tell, unless flags or a config of the user's do."""
        data = config.data.init_args
        devices = config.trainer.devices if isinstance(config.trainer.devices, int) else 1
        chosen, told = settings_of(data.as_dict(), data.batch_size * max(1, devices))
        by_hand = [key for key in chosen if _set_by_hand(key, self._given)]
        for key, value in chosen.items():
            if key not in by_hand:
                config[key] = Namespace(value) if isinstance(config[key], Namespace) else value
        rank_zero_info("\n".join(f"{data.root}: {sentence}" for sentence in told))
        if by_hand:
            names = ", ".join(_flag(key) for key in by_hand)
            rank_zero_info(f"kept as you have set it: {names}")

    def after_fit(self) -> None:
        """Says what the checkpoint is for."""
        path = getattr(self.trainer.checkpoint_callback, "last_model_path", "")
        if path and isinstance(self.model, module.LitDFF):
            rank_zero_info(f"predict a video: dff predict {path} VIDEO")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Adds the callbacks that every run has."""
        trainer = super().instantiate_trainer(**kwargs)
        if "RichProgressBar" not in str(self.config["fit"].trainer.callbacks):
            # Lightning takes rich's where rich happens to be installed, which tells a log file
            # nothing before the end.
            trainer.callbacks[:] = [
                TQDMProgressBar() if type(bar) is RichProgressBar else bar
                for bar in trainer.callbacks
            ]
        trainer.callbacks[:0] = [StopsAtNaN(), Throughput()]
        if trainer.loggers:
            trainer.callbacks.insert(0, LearningRateMonitor("step"))
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        """Ends the processes that this one has begun, where it fails: they would wait for it."""
        try:
            super()._run_subcommand(subcommand)
        except Exception:
            for process in getattr(self.trainer.strategy.launcher, "procs", ()):
                process.kill()  # one that waits for others hears nothing else
            raise


def default_loggers(output: str, name: str) -> list[Namespace]:
    """CSV, which names the run's folder, and W&B, offline where nobody is logged in."""
    offline = "WANDB_MODE" not in os.environ and not logged_in()
    return [
        Namespace(
            class_path="dff.lit.loggers.metrics_file.MetricsFile",
            init_args=Namespace(save_dir=output, name=name),
        ),
        Namespace(
            class_path=WANDB,
            init_args=Namespace(
                project="dff", name=name, save_dir=str(Path(output) / name), offline=offline
            ),
        ),
    ]


def _names_auto(given: list[str]) -> bool:
    """Whether arguments name the data `Auto`."""
    words = [str(word) for word in given]
    follow = [value for flag, value in pairwise(words) if flag == "--data"]
    return "Auto" in [v.rpartition(".")[2] for v in follow] or "--data=Auto" in words


def _flag(key: str) -> str:
    return "--" + key.replace(".init_args", "")


def _set_by_hand(key: str, given: list[str]) -> bool:
    """Whether flags or a config other than the project's have a setting."""
    if any(str(w).split("=")[0] in (_flag(key), f"--{key}") for w in given):
        return True
    for file in config_files(given):
        if file.resolve().parent == configs.FOLDER.resolve():
            continue
        found: Any = yaml.safe_load(file.read_text())
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return True
    return False


def _precision_by_hand(given: list[str]) -> bool:
    """Whether flags or a config other than the project's set the precision."""
    after = dict(pairwise(given)).get("--trainer", "")
    if "precision" in after or any(w.startswith("--trainer") and "precision" in w for w in given):
        return True
    own = [
        file for file in config_files(given) if file.resolve().parent != configs.FOLDER.resolve()
    ]
    return any("precision" in (yaml.safe_load(f.read_text()).get("trainer") or {}) for f in own)
