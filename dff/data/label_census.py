"""What the masks of a split hold, looked at before a training or an evaluation begins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dff.data.files.images import count_values
from dff.data.pair_files import ReadMask
from dff.data.samples import IGNORED, SampleError

MOST = 1000
"""Masks that are looked at for a class that none has held so far; some 10 s of 1024x2048."""


@dataclass(frozen=True)
class LabelCensus:
    """What masks hold.

    Args:
        pixels: (256,) int64, how many pixels there are of each train id.
        looked_at: How many masks were looked at.
        masks: How many there are.
    """

    pixels: np.ndarray
    looked_at: int
    masks: int


def check_masks(
    files: Sequence[str],
    read_mask: ReadMask,
    classes: Sequence[str],
    held_out: bool = False,
    skip_damaged: bool = False,
) -> str:
    """Looks into the masks of a split; what no loss and no figure would show is said.

    Args:
        files: The masks.
        read_mask: Reads one as train ids.
        classes: Their names.
        held_out: Whether they are for evaluation, where not each class need be there.
        skip_damaged: Whether masks that cannot be used are passed over.

    Returns:
        One line on the classes that no mask holds; "" where there is nothing to say.

    Raises:
        FileNotFoundError: A mask is missing.
        SampleError: A mask cannot be used; no pixel is labelled at all; or, in training, all have
            one class or are ignored, as where somebody wrote 255 for the second class.
    """
    census = count_labels(files, read_mask, len(classes), 2 if held_out else None, skip_damaged)
    held = census.pixels[: len(classes)] > 0
    if not census.looked_at:
        return ""
    ignored = census.pixels[IGNORED] / census.pixels.sum()
    cure = (
        f"write at each pixel the number of its class, 0..{len(classes) - 1} (for two classes "
        f"0 and 1, not 0 and {IGNORED}), and {IGNORED} only where a pixel is not to count"
    )
    if not held.any():
        raise SampleError(
            f"no pixel of the {len(files)} masks is labelled, all are ignored ({IGNORED}, or an id "
            f"without a class): {cure}"
        )
    if held.sum() == 1 < len(classes) and ignored and not held_out:
        only = int(np.flatnonzero(held)[0])
        raise SampleError(
            f"the {len(files)} masks hold no class but {only} ({classes[only]}), and "
            f"{100 * ignored:.3g} % of their pixels are {IGNORED}, which means ignored, so nothing "
            f"else could be learned: {cure}"
        )
    missing = [f"{n} ({classes[n]})" for n in np.flatnonzero(~held).tolist()]
    if not missing or (held_out and held.sum() > 1):
        return ""
    which = f"of the {len(files)} masks"
    if census.looked_at < census.masks:
        which = f"of the {census.looked_at} masks that were looked at, of {census.masks},"
    share = f"; {100 * ignored:.3g} % of their pixels are ignored ({IGNORED})" if ignored else ""
    many = "es" if len(missing) > 1 else ""
    return f"none {which} holds the class{many} {', '.join(missing)}{share}"


def count_labels(
    files: Sequence[str],
    read_mask: ReadMask,
    classes: int,
    enough: int | None = None,
    skip_damaged: bool = False,
) -> LabelCensus:
    """Looks at masks, in a mixed order that is always the same, until nothing new is to be found.

    That is when `enough` classes were seen; or after `MOST` masks, if more than one class was: that
    there is one alone, or none, is known only when all masks were looked at.

    Args:
        files: The masks.
        read_mask: Reads one as train ids.
        classes: How many there are.
        enough: How many of them are looked for; None is all.
        skip_damaged: Whether masks that cannot be used are passed over.

    Raises:
        FileNotFoundError: A mask is missing.
        SampleError: A mask cannot be used.
    """
    pixels, looked_at = np.zeros(256, np.int64), 0
    enough = classes if enough is None else min(enough, classes)
    for position in np.random.default_rng(0).permutation(len(files)).tolist():
        seen = np.count_nonzero(pixels[:classes])
        if seen >= enough or (looked_at >= MOST and seen > 1):
            break
        try:
            pixels += count_values(read_mask(files[position]))
        except (SampleError, FileNotFoundError):
            if not skip_damaged:
                raise
            continue
        looked_at += 1
    return LabelCensus(pixels, looked_at, len(files))
