"""Every data module, imported so that the command line finds it by its name alone."""

from dff.lit.datamodules import datasets, flow_data, own_data, video_frames
from dff.lit.datamodules.pair_data import PairData

__all__ = ["PairData", "datasets", "flow_data", "own_data", "video_frames"]
