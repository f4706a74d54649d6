"""Prediction on several devices: a Lightning trainer gives each process its share of the videos."""

import argparse

import lightning as L

from dff.data.video.sources import VideoInput
from dff.inference.results.writer import ResultWriter
from dff.lit.checkpoints import load_model
from dff.lit.datamodules.datasets import Videos
from dff.lit.writer import PredictionWriter, gather_failures
from dff.models.schedule import Schedule


class TrainerPrediction:
    """Predicts videos through `Trainer.predict`.

    Args:
        args: Of `dff predict`.
        schedule: Which frames are key frames.
    """

    def __init__(self, args: argparse.Namespace, schedule: Schedule) -> None:
        self.args, self.schedule = args, schedule
        self.module = load_model(args.checkpoint, args.flow_network, flow_from=args.flow_from)
        self.module.compiles = args.compile

    def __call__(
        self, videos: list[VideoInput], writer: ResultWriter
    ) -> tuple[dict[str, str], bool]:
        """Predicts; the failures of all processes, and whether this one speaks for all."""
        args = self.args
        trainer = L.Trainer(
            accelerator=args.accelerator,
            devices=args.devices,
            num_nodes=args.num_nodes,
            precision=args.precision,
            callbacks=[PredictionWriter(writer)],
            logger=False,
            enable_progress_bar=False,  # the writer's counts frames
        )
        data = Videos(videos, self.schedule, args.short_side, args.max_side)
        trainer.predict(self.module, data, return_predictions=False)
        return gather_failures(trainer, writer.failed), trainer.is_global_zero
