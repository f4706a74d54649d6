"""A user's own data as Lightning data modules: whatever a labelling tool has written."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from dff.data.annotations import looking
from dff.data.annotations.annotation_set import AnnotationSet, Splits, with_classes_of
from dff.data.annotations.drawn_masks import DrawnMasks
from dff.data.annotations.formats.coco import read_coco
from dff.data.annotations.masks import MaskKind
from dff.data.datasets.folder import default_colours
from dff.data.samples import Snippet
from dff.data.splitting import split_videos
from dff.lit.datamodules.pair_data import PairData

GAPS = (0, 1, 4, 9)
"""Gaps of the evaluation, those of them that exist."""
VALIDATED = 200
"""Labelled frames that an evaluation takes, about, unless it is told otherwise."""


class Annotated(PairData):
    """Data that readers of annotations give; a base of those below.

    Args:
        splits: See `Splits`.
        with_boxes: Whether boxes are learned; None where there are some.
        val_share: Share of the videos that is held out, where no split is told.
        split_seed: Of the choice of those.
        short_side: Of whole frames, in training and evaluation; None leaves them.
        max_side: Most pixels of the longer side, with `short_side`.
        val_gaps: Gaps of the evaluation; None takes those of 0, 1, 4 and 9 that exist.
        val_every: Evaluate on every n-th labelled frame alone; None takes about 200 of them.
        kwargs: See `PairData`.

    Raises:
        SampleError: The files cannot be used.
    """

    def __init__(
        self,
        splits: Splits,
        with_boxes: bool | None = None,
        val_share: float = 0.2,
        split_seed: int = 0,
        short_side: int | None = None,
        max_side: int | None = None,
        val_gaps: Sequence[int] | None = None,
        val_every: int | None = None,
        skip_damaged: bool = False,
        **kwargs: Any,
    ) -> None:
        self.sets, self.split_words, self.held_out = _split(splits, val_share, split_seed)
        train = self.sets["train"]
        for one in self.sets.values():
            if not skip_damaged:
                one.findings.refuse()
        self.classes, self.palette = train.classes, _palette(train)
        self.box_classes = train.box_classes
        val = self.sets.get("val", train)
        super().__init__(
            with_boxes=bool(train.box_classes) if with_boxes is None else with_boxes,
            short_side=short_side,
            max_side=max_side,
            val_short_side=short_side,
            val_max_side=max_side,
            val_gaps=existing_gaps(val.snippets) if val_gaps is None else val_gaps,
            val_every=_every(val.snippets) if val_every is None else val_every,
            skip_damaged=skip_damaged,
            **kwargs,
        )
        self.split_seed = split_seed
        self._reader = train.read_mask
        if isinstance(train.read_mask, DrawnMasks) and isinstance(val.read_mask, DrawnMasks):
            self._reader = train.read_mask.joined(val.read_mask)

    def find_snippets(self, split: str) -> Sequence[Snippet]:
        """Videos, and images as videos of one frame; what was wrong with them is said."""
        if split not in self.sets:
            raise ValueError(
                f"the data has no split {split}: name its files or folders train and val, or leave "
                "one of them, of which videos are then held out"
            )
        found = self.sets[split]
        told = [*found.findings.notes, *(str(problem) for problem in found.findings)]
        for sentence in told:
            rank_zero_info(f"{found.format} {split}: {sentence}")
        return found.snippets

    def mask_reader(self) -> Callable[[str], np.ndarray] | None:
        """Reads mask files, or draws masks of outlines; None where there are boxes alone."""
        return self._reader

    def setup(self, stage: str) -> None:
        """Says which videos are held out, and writes it beside the run."""
        super().setup(stage)
        if self.split_words:
            rank_zero_info(self.split_words)
            # every process asks, since Lightning compares their answers
            folder = self.trainer.log_dir if self.trainer and stage == "fit" else None
            if folder is not None:
                _write_split(Path(folder), self.held_out, self.split_seed)


class Auto(Annotated):
    """A folder of your own data, of whatever format it is: says what it found, and why.

    Args:
        root: The folder.
        format: coco, cvat, yolo, mot, voc, masks or mask_folders; None finds it out.
        with_masks: Whether a segmentation is learned from outlines, where the format has both boxes
            and outlines.
        masks: What the values of mask files mean; None finds it out.
        kwargs: See `Annotated` and `PairData`.
    """

    def __init__(
        self,
        root: str,
        format: looking.Format | None = None,
        with_masks: bool = False,
        masks: MaskKind | None = None,
        **kwargs: Any,
    ) -> None:
        self.root = root
        splits = looking.read(root, format, with_masks, masks)
        rank_zero_info(f"{splits.found}")
        super().__init__(splits, **kwargs)


class Coco(Annotated):
    """Images or videos with boxes in COCO's JSON, with CocoVID's or YouTube-VIS's fields.

    Args:
        root: The folder that the file names are in.
        train: COCO JSON of the training split; a path, or a name in `root`.
        val: Likewise, held out. Its categories are those of the training, by name.
        with_masks: Whether a segmentation is learned from outlines too.
        kwargs: See `Annotated` and `PairData`.
    """

    def __init__(
        self,
        root: str,
        train: str = "train.json",
        val: str = "val.json",
        with_masks: bool = False,
        **kwargs: Any,
    ) -> None:
        self.root = root
        files = {"train": Path(root) / train, "val": Path(root) / val}
        sets = {split: read_coco(file, root, with_masks) for split, file in files.items()}
        super().__init__(Splits(f"{files['train']} and {files['val']}", sets), **kwargs)


def existing_gaps(snippets: Sequence[Snippet]) -> list[int]:
    """Those of `GAPS` at which a labelled frame has a key frame."""
    gaps = {
        gap
        for snippet in snippets
        for number in snippet.labelled
        for gap in GAPS
        if number - gap in snippet.frames
    }
    return sorted(gaps) or [0]


def _every(snippets: Sequence[Snippet]) -> int:
    labelled = [len(snippet.labelled) for snippet in snippets]
    return max(1, min(sum(labelled) // VALIDATED, max(labelled, default=1)))


def _palette(found: AnnotationSet) -> list[list[int]]:
    if len(found.palette) == len(found.classes):
        return [list(colour) for colour in found.palette]
    return default_colours(len(found.classes))


def _split(
    splits: Splits, share: float, seed: int
) -> tuple[dict[str, AnnotationSet], str, list[str]]:
    """The sets by name, and what to say where the split is chosen here."""
    sets = dict(splits.sets)
    if "all" not in sets:
        if "val" in sets:
            sets["val"] = with_classes_of(sets["val"], sets["train"])
            return sets, "", []
        whole = sets["train"]
    else:
        whole = sets["all"]
    parts, words, names = split_videos(whole.snippets, share, seed)
    return {part: replace(whole, snippets=found) for part, found in parts.items()}, words, names


@rank_zero_only
def _write_split(folder: Path, held_out: Sequence[str], seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"seed": seed, "held_out": list(held_out)}
    (folder / "split.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
