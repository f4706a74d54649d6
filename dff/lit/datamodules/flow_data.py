"""Pairs with true flow as Lightning data modules, to train flow networks on: read, or drawn."""

from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from dff.data.datasets.flying_chairs import FlowFiles, PairReader, find_pairs, split_pairs
from dff.data.flow_pairs import GAP, FlowPairs
from dff.data.synthetic.chairs.pairs import DrawnPairSettings, PairDrawing
from dff.data.transforms.flow import FlowTransform
from dff.lit.datamodules.loaders import evaluation_loader, to_unit_frames, training_loader
from dff.lit.module import LitDFF

Split = Literal["train", "val"]


class FlowData(L.LightningDataModule):
    """Pairs of two frames with true flow, all at gap 1; for `LitFlow`.

    Subclasses say where the pairs come from. Validation changes nothing about them. All arguments
    are settings of `--data`; frames leave here as RGB in [0, 1] on the device.

    Args:
        batch_size: Training pairs a step on each device.
        val_batch_size: Validation pairs a step; those of several sizes are padded to one.
        num_workers: Loader processes on each device.
        size: Height and width of a training pair, cut from the frames; None keeps theirs.
        scale: Range of the random zoom in training.
        rotate: Largest random rotation in training, in degrees.
        translate: Largest random shift in training, as a share of the size, beyond the crop.
        relative: Strength of a random motion of the key frame alone; 1 is as FlowNet.
        flip: Probability of a horizontal flip.
        colour: Strength of the random colour changes, 0 to 1.
        skip_damaged: Pass over training pairs with damaged files, and count them.
        seed: Of every draw in training.
    """

    def __init__(
        self,
        batch_size: int = 8,
        val_batch_size: int = 1,
        num_workers: int = 2,
        size: tuple[int, int] | None = None,
        scale: tuple[float, float] = (1.0, 1.0),
        rotate: float = 0.0,
        translate: float = 0.0,
        relative: float = 0.0,
        flip: float = 0.5,
        colour: float = 0.0,
        skip_damaged: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.num_workers, self.skip_damaged, self.seed = num_workers, skip_damaged, seed
        self.training_transform = FlowTransform(
            size, scale, rotate, translate, relative, flip, colour
        )
        self.val_gaps = [GAP]

    def setup(self, stage: str) -> None:
        """Refuses a model that wants labels.

        Raises:
            ValueError: There are none.
        """
        model = None if self.trainer is None else self.trainer.lightning_module
        if stage == "fit" and isinstance(model, LitDFF):
            raise ValueError(
                f"{type(self).__name__} has flow and no labels: train a flow network on it with "
                "--model LitFlow, or take other data for LitDFF"
            )

    def pairs(self, split: Split, transform: FlowTransform | None = None) -> FlowPairs:
        """The pairs of a split, `train` or `val`."""
        raise NotImplementedError

    def evaluation_pairs(
        self,
        gaps: Sequence[int] = (GAP,),
        with_flow: bool | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> DataLoader:
        """Pairs of the held-out split; this rank's share, each pair once.

        Args:
            gaps: As for `PairData`; only pairs at gap 1 exist.
            with_flow: As for `PairData`; flow always comes along.
            rank: Number of this share.
            world_size: Number of shares.

        Raises:
            ValueError: Gap 1 is not among the gaps.
        """
        if GAP not in gaps:
            raise ValueError(
                f"{type(self).__name__} has pairs of two frames, at gap {GAP} alone: none at "
                f"{tuple(gaps)}"
            )
        return evaluation_loader(self, self.pairs("val"), rank, world_size)

    def train_dataloader(self) -> DataLoader:
        """Random draws; a run that goes on in mid-epoch goes on with the pair it stopped before."""
        return training_loader(self, self.pairs("train", self.training_transform), "pairs")

    def val_dataloader(self) -> DataLoader:
        """The held-out pairs."""
        return self.evaluation_pairs(self.val_gaps)

    def on_after_batch_transfer(self, batch: dict[str, Any], index: int) -> dict[str, Any]:
        """Frames from uint8 to RGB in [0, 1], on the device."""
        return to_unit_frames(batch)


class FlyingChairs(FlowData):
    """Flying Chairs as it is distributed, FlowNet2's samples of it, or KITTI 2015.

    Args:
        root: Folder of the pairs, or of folders of pairs; see `dff.data.datasets.flying_chairs`.
        split_file: The official split. None takes FlyingChairs_train_val.txt where it lies beside
            the pairs, and else holds out every tenth pair (of fewer than 20, every fourth).
        all_pairs: Train and validate on all pairs, whatever the split: to see whether a network can
            learn a few at all.
        kwargs: See `FlowData`.
    """

    def __init__(
        self, root: str, split_file: str | None = None, all_pairs: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.root, self.split_file, self.all_pairs = root, split_file, all_pairs
        self._files: dict[str, list[FlowFiles]] = {}

    def files(self, split: Split) -> list[FlowFiles]:
        """The files of the pairs of a split in natural order, found once."""
        if split not in self._files:
            files = find_pairs(self.root)
            if not self.all_pairs:
                files = split_pairs(files, split, self.split_file)
            rank_zero_info(f"{type(self).__name__} {split}: {len(files)} pairs")
            self._files[split] = files
        return self._files[split]

    def pairs(self, split: Split, transform: FlowTransform | None = None) -> FlowPairs:
        """The pairs of a split, `train` or `val`."""
        files = self.files(split)
        skips = self.skip_damaged and split == "train"
        return FlowPairs(PairReader(files), len(files), transform, skips)


class DrawnPairs(FlowData):
    """Pairs in the manner of Flying Chairs, drawn when they are asked for: no data needed.

    Args:
        train_pairs: Pairs of the training split, which is an epoch.
        val_pairs: Pairs held out, of other textures.
        height: Of a drawn frame.
        width: Of a drawn frame.
        max_motion: Longest flow, in pixels.
        motion: Scale of the motions in pixels; see `DrawnPairSettings`, likewise `power` to
            `noise`.
        power: Of their distribution: 3 makes most small and few large, 1 is half a normal one.
        turn: Scale of the rotations, in degrees.
        zoom: Scale of the changes of size.
        shapes: Smallest and largest number of shapes.
        noise: Deviation of the noise of each frame, of 255.
        draw_seed: Of the drawing.
        flip: Probability of a horizontal flip: what is drawn anew needs none.
        kwargs: See `FlowData`.
    """

    def __init__(
        self,
        train_pairs: int = 20_000,
        val_pairs: int = 64,
        height: int = DrawnPairSettings.height,
        width: int = DrawnPairSettings.width,
        max_motion: float = DrawnPairSettings.max_motion,
        motion: float = DrawnPairSettings.motion,
        power: float = DrawnPairSettings.power,
        turn: float = DrawnPairSettings.turn,
        zoom: float = DrawnPairSettings.zoom,
        shapes: tuple[int, int] = DrawnPairSettings.shapes,
        noise: float = DrawnPairSettings.noise,
        draw_seed: int = DrawnPairSettings.seed,
        flip: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(flip=flip, **kwargs)
        if train_pairs < 1 or val_pairs < 1:
            raise ValueError(
                f"train_pairs {train_pairs}, val_pairs {val_pairs}: want at least one of each"
            )
        self.counts = {"train": train_pairs, "val": val_pairs}
        fewest, most = shapes
        self.settings = DrawnPairSettings(
            height=height,
            width=width,
            max_motion=max_motion,
            motion=motion,
            power=power,
            turn=turn,
            zoom=zoom,
            shapes=(fewest, most),
            noise=noise,
            seed=draw_seed,
        )

    def pairs(self, split: Split, transform: FlowTransform | None = None) -> FlowPairs:
        """The pairs of a split, `train` or `val`; they share no texture."""
        drawing = PairDrawing(self.settings, list(self.counts).index(split))
        return FlowPairs(drawing, self.counts[split], transform)
