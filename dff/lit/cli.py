"""The command line of training, and how every script ends on a user's mistake."""

import atexit
import netrc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from dff.lit import datamodules, flow, flow_data, module  # noqa: F401  (so short names resolve)
from dff.lit.checkpoints import Checkpoints, check_continued, last_checkpoint
from dff.lit.flow_quality import FlowMonitor
from dff.lit.loader_faults import loader_fault
from dff.lit.panels import Panels
from dff.lit.predictor import VideoPredictor
from dff.lit.progress import Throughput


class FitCLI(LightningCLI):
    """`fit` without the word: model, data and trainer from a config and flags.

    Args:
        default_config: The config of a run for which none is given.
        args: Arguments in place of the command line's.
    """

    def __init__(self, default_config: str | Path, args: ArgsType = None) -> None:
        self.default_config = str(default_config)
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            args=args,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Puts `fit`, and the default config where none is given, before the arguments."""
        given = list(sys.argv[1:] if args is None else args)
        if not any(str(a).split("=")[0] in ("--config", "-c") for a in given):
            given = ["--config", self.default_config, *given]
        self.config = parser.parse_args(["fit", *given])

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
        """Chooses loggers, and resolves `--ckpt_path last` to the run's newest checkpoint."""
        config = self.config["fit"]
        if config.ckpt_path == "last":
            # Lightning would only warn, and begin again from nothing.
            config.ckpt_path = str(last_checkpoint(Path(config.output) / config.name))
        if config.ckpt_path not in (None, "hpc") and "://" not in config.ckpt_path:
            trainer = config.trainer
            steps = trainer.max_steps if trainer.max_epochs in (None, -1) else -1
            check_continued(config.ckpt_path, config.model.class_path.rpartition(".")[2], steps)
        if config.trainer.logger in (None, True):
            config.trainer.logger = default_loggers(config.output, config.name)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Adds the callbacks that every run has."""
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks.insert(0, Throughput())
        if trainer.loggers:
            trainer.callbacks.insert(0, LearningRateMonitor("step"))
        return trainer


def default_loggers(output: str, name: str) -> list[Namespace]:
    """CSV, which names the run's folder, and W&B, offline where nobody is logged in."""
    offline = "WANDB_MODE" not in os.environ and not _logged_in()
    loggers = "lightning.pytorch.loggers"
    return [
        Namespace(
            class_path=f"{loggers}.CSVLogger", init_args=Namespace(save_dir=output, name=name)
        ),
        Namespace(
            class_path=f"{loggers}.WandbLogger",
            init_args=Namespace(
                project="dff", name=name, save_dir=str(Path(output) / name), offline=offline
            ),
        ),
    ]


def _logged_in() -> bool:
    """Whether wandb would find a key; asking wandb itself settles its mode for good."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


MISTAKES = (
    *(FileNotFoundError, PermissionError, ConnectionError, ValueError),
    MisconfigurationException,
)
"""Errors whose messages are written for people, here as in the packages."""


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a script; a user's mistake ends in one clear line, anything else in its traceback.

    DFF_TRACEBACK=1 shows where a message came from. A process that was asked to end (SIGTERM) saves
    what it can and ends with 143.
    """
    # Asked a second time, while it ends, it ends without what Python would say of it.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    try:
        code = main()
    except MISTAKES as error:
        if os.environ.get("DFF_TRACEBACK"):
            raise
        print(f"error: {_last_words(_first(error))}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except SIGTERMException:  # Lightning has saved, and would end as if all were done
        _terminated()
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        print("interrupted", file=sys.stderr)  # Lightning has saved, and would end with 1
        sys.exit(130)
    except (RuntimeError, MemoryError) as error:
        words = str(error)
        if "is killed by signal: Terminated" in words:
            _terminated()  # a cluster asks a job's loader processes too, and they end first
        fault = loader_fault(error)
        if "PytorchStreamReader failed" in words:
            fault = "a checkpoint was cut or replaced while it was read: run the command again"
        if fault is not None and not os.environ.get("DFF_TRACEBACK"):
            print(f"error: {fault}", file=sys.stderr)
            sys.exit(1)
        if "Error(s) in loading state_dict" not in words or os.environ.get("DFF_TRACEBACK"):
            raise
        print(
            f"error: the checkpoint is of another model: {words.splitlines()[1].strip()} "
            "Give the settings that it was trained with",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.exit(code)


def _terminated() -> NoReturn:
    print("terminated", file=sys.stderr)
    sys.exit(143)


def _first(error: BaseException) -> BaseException:
    """What making a model or data has raised, without the settings that the parser adds to it."""
    while "Does not validate against any" in str(error) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _last_words(error: Exception) -> str:
    """The message; of an error that a loader process sent on, the last line of its traceback."""
    text = str(error)
    if "Original Traceback" not in text:
        return text
    last = [line for line in text.splitlines() if line.strip()][-1]
    return last.split(": ", 1)[-1]
