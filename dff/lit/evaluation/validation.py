"""One evaluation of a model on held-out data, on one device or several."""

from typing import Any

import lightning as L

from dff.lit.datamodules.pair_data import PairData
from dff.lit.evaluation.predictor import VideoPredictor
from dff.lit.loggers.metrics_file import MetricsFile
from dff.lit.module import LitDFF


def evaluate(
    module: LitDFF, data: PairData, predictor: VideoPredictor, output: str, **settings: Any
) -> None:
    """Validates by gap, and lets a `VideoPredictor` measure the key schedule.

    Args:
        module: The model.
        data: Whose held-out pairs count.
        predictor: Measures and reports.
        output: Folder for the reports.
        settings: Of the trainer: accelerator, devices, num_nodes, precision.
    """
    logger = MetricsFile(output, name=None)
    L.Trainer(logger=logger, callbacks=[predictor], **settings).validate(module, data)
