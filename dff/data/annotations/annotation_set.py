"""`AnnotationSet`: what every reader of annotations gives; and one numbering for two splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from dff.data.annotations.box_table import BoxTable
from dff.data.annotations.drawn_masks import DrawnMasks
from dff.data.annotations.findings import Findings
from dff.data.pair_files import ReadMask
from dff.data.samples import SampleError, Snippet


@dataclass(frozen=True)
class AnnotationSet:
    """The annotations of one split, or of a data set that is not split.

    Args:
        format: What the files are, such as "COCO JSON".
        snippets: Videos, and single images as videos of one frame.
        box_classes: Names of the classes of boxes, in the order of their labels; none where there
            are no boxes.
        classes: Those of masks; none where there are no masks.
        palette: Colours of `classes`, r, g, b; may be empty.
        read_mask: Reads what `masks` of a snippet name.
        findings: What is wrong, and how the files were understood.
    """

    format: str
    snippets: Sequence[Snippet]
    box_classes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    palette: Sequence[Sequence[int]] = ()
    read_mask: ReadMask | None = None
    findings: Findings = field(default_factory=Findings)

    def only(self, chosen: Sequence[int]) -> "AnnotationSet":
        """Some of its snippets, by their positions."""
        return replace(self, snippets=[self.snippets[i] for i in chosen])


class Splits(NamedTuple):
    """A data set whose splits are told, by the name "train" or "val"; "all" where none is."""

    found: str
    """Why it is taken for what it is, in one sentence."""
    sets: Mapping[str, AnnotationSet]


def with_classes_of(split: AnnotationSet, training: AnnotationSet) -> AnnotationSet:
    """The annotations of a split with the labels of the training split, joined by names.

    Args:
        split: Held out.
        training: What a model is trained on.

    Raises:
        SampleError: A class is used that the training does not have.
    """
    if split.box_classes == training.box_classes:
        return split
    table = np.array(
        [
            training.box_classes.index(name) if name in training.box_classes else -1
            for name in split.box_classes
        ],
        np.int64,
    )
    snippets = []
    for snippet in split.snippets:
        if isinstance(snippet.boxes, BoxTable):
            used = np.unique(snippet.boxes.classes())
            if (foreign := used[table[used] < 0]).size:
                raise SampleError(
                    f"{snippet.name} has boxes of the class {split.box_classes[foreign[0]]!r}, and "
                    f"the training has {', '.join(training.box_classes)}: both splits must name "
                    "the same things alike"
                )
            snippet = replace(snippet, boxes=snippet.boxes.relabelled(table))
        snippets.append(snippet)
    read_mask = split.read_mask
    if isinstance(read_mask, DrawnMasks):  # of the same objects, behind the background
        read_mask = read_mask.relabelled(np.concatenate([[0], table + 1]))
    return replace(
        split,
        snippets=snippets,
        box_classes=training.box_classes,
        classes=training.classes,
        palette=training.palette,
        read_mask=read_mask,
    )
