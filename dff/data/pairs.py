"""Which key frame goes with a labelled frame: a random gap in training, every gap in evaluation."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from dff.data.pair_files import BOXES, ReadMask, frame_size, read_pair, read_previous
from dff.data.samples import Pair, SampleError, Snippet
from dff.data.transforms.pairs import Arrays

Transform = Callable[[Arrays, int], Arrays]

GIVE_UP_AFTER = 10
"""Damaged samples in a row after which a training stops."""


class TrainingPairs(Dataset[Pair]):
    """One entry for each labelled frame; its key frame is drawn.

    An item is a pure function of (index, seed), whatever worker or machine makes it.

    Args:
        snippets: From a `find_snippets`. Those without labels are passed over.
        read_mask: Reads a label file; None for data of boxes alone.
        transform: (arrays, seed) -> arrays, such as `TrainingTransform`.
        gaps: Smallest and largest gap. Drawn evenly among those whose key frame exists; gap 0
            where none does.
        gap_0_share: Probability of gap 0; the others share the rest evenly. None: gap 0 is like
            any other.
        skip_damaged: Whether a sample that cannot be read is replaced by the next, and counted.
        with_flow: Whether the exact flow comes along. Where it is not known, flow_known is False.
        with_boxes: Whether boxes come along; all snippets must have them.
        with_previous: Whether the frame before the current one comes along.
        clamp_gaps: Draw among all gaps, and take the first frame of the snippet for a key frame
            that would lie before it, as the authors do: early frames have it as key more often.

    Raises:
        ValueError: An argument is out of its range, or no frame is labelled.
    """

    def __init__(
        self,
        snippets: Sequence[Snippet],
        read_mask: ReadMask | None,
        transform: Transform,
        gaps: tuple[int, int] = (0, 9),
        gap_0_share: float | None = None,
        skip_damaged: bool = False,
        with_flow: bool = False,
        with_boxes: bool = False,
        clamp_gaps: bool = False,
        with_previous: bool = False,
    ) -> None:
        if not 0 <= gaps[0] <= gaps[1]:
            raise ValueError(f"gaps {tuple(gaps)}: want smallest and largest, 0 <= s <= l")
        if gap_0_share is not None and not 0 <= gap_0_share <= 1:
            raise ValueError(f"gap_0_share {gap_0_share}: want a number from 0 to 1, or None")
        self.snippets, self.entries = snippets, _labelled(snippets, read_mask is not None)
        self.read_mask, self.transform = read_mask, transform
        self.gaps, self.gap_0_share = (int(gaps[0]), int(gaps[1])), gap_0_share
        self.skip_damaged, self.with_flow = skip_damaged, with_flow
        self.with_boxes, self.clamp_gaps = with_boxes, clamp_gaps
        self.with_previous = with_previous

    def __len__(self) -> int:
        return len(self.entries)

    def draw_gap(self, index: int, rng: np.random.Generator) -> int:
        """Draws the gap of one entry, among those whose key frame exists."""
        return self._draw_gap(*self._entry(index), rng)

    def _entry(self, index: int) -> tuple[Snippet, int]:
        number, current = self.entries[index].tolist()
        return self.snippets[number], current

    def _draw_gap(self, snippet: Snippet, current: int, rng: np.random.Generator) -> int:
        gaps = range(self.gaps[0], self.gaps[1] + 1)
        if self.clamp_gaps:
            before = current - min(snippet.frames)
            there = [min(gap, before) for gap in gaps]
            # a frame that is missing counts as the nearest one after it
            while any(current - gap not in snippet.frames for gap in there):
                there = [gap - (current - gap not in snippet.frames) for gap in there]
        else:
            there = [gap for gap in gaps if current - gap in snippet.frames]
        # drawn even where it is not needed: the numbers after it stay the same
        zero = rng.random() < (self.gap_0_share or 0)
        if self.gap_0_share is not None:
            there = [gap for gap in there if gap > 0]
        return 0 if zero or not there else int(there[rng.integers(len(there))])

    def __getitem__(self, draw: tuple[int, int]) -> Pair:
        """Makes one pair.

        Args:
            draw: Position of the labelled frame, and the seed of all that is random.

        Raises:
            SampleError: A file cannot be used, or 10 samples in a row if damaged ones are skipped.
        """
        index, seed = draw
        if not self.skip_damaged:
            return self._make(index, seed)
        return first_usable(lambda at: self._make(at, seed), index, len(self), "samples")

    def _make(self, index: int, seed: int) -> Pair:
        rng = np.random.default_rng(seed)
        snippet, current = self._entry(index)
        gap = self._draw_gap(snippet, current, rng)
        arrays = read_pair(snippet, current, gap, self.read_mask, self.with_flow, self.with_boxes)
        if self.with_previous:
            arrays["previous"] = read_previous(snippet, current, gap, arrays)
        try:
            arrays = self.transform(arrays, int(rng.integers(2**31)))
        except SampleError as error:
            raise SampleError(f"{error} ({snippet.frames[current]})") from error
        return to_pair(arrays, gap, index)


class EvaluationPairs(Dataset[Pair]):
    """Each labelled frame with each gap whose key frame exists: frame by frame, gap by gap.

    Args:
        snippets: From a `find_snippets`. Those without labels are passed over.
        read_mask: Reads a label file; None for data of boxes alone.
        transform: (arrays, seed) -> arrays, such as `EvaluationTransform`; the seed is the index.
        gaps: The gaps.
        with_flow: Whether the exact flow comes along. Where it is not known, flow_known is False.
        with_boxes: Whether boxes come along; all snippets must have them.

    Raises:
        ValueError: No frame is labelled, or none has a key frame at one of the gaps.
    """

    def __init__(
        self,
        snippets: Sequence[Snippet],
        read_mask: ReadMask | None,
        transform: Transform,
        gaps: Sequence[int] = tuple(range(10)),
        with_flow: bool = False,
        with_boxes: bool = False,
    ) -> None:
        self.snippets = snippets
        self.entries = _with_gaps(snippets, gaps, read_mask is not None)
        if not len(self.entries):
            raise ValueError(
                f"no labelled frame has a key frame at one of the gaps {tuple(gaps)}: set "
                "--data.val_gaps to gaps that exist, such as 0, or add the frames before the "
                "labelled ones"
            )
        self.read_mask, self.transform = read_mask, transform
        self.with_flow, self.with_boxes = with_flow, with_boxes
        self._last: tuple[str, Arrays] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def sizes(self) -> np.ndarray:
        """A number for each pair, the same for pairs of snippets of one frame size, (N,) int64."""
        numbers: dict[tuple[int, int] | None, int] = {}
        of_snippet = np.zeros(len(self.snippets), np.int64)
        for position in np.unique(self.entries[:, 0]).tolist():
            size = frame_size(self.snippets[position])
            of_snippet[position] = numbers.setdefault(size, len(numbers))
        return of_snippet[self.entries[:, 0]]

    def __getitem__(self, index: int) -> Pair:
        """Makes one pair.

        Raises:
            SampleError: A file cannot be used; an evaluation that skips it compares to nothing.
        """
        number, current, gap = self.entries[index].tolist()
        snippet = self.snippets[number]
        known = self._last
        known = known[1] if known is not None and known[0] == snippet.frames[current] else None
        arrays = read_pair(
            snippet, current, gap, self.read_mask, self.with_flow, self.with_boxes, known
        )
        if self.with_boxes and (motion := snippet.boxes.motion(current)) is not None:
            arrays["motion"] = motion
        # the next entries are the same labelled frame with other gaps
        kept = {n: arrays[n] for n in ("current", "mask", *BOXES) if n in arrays}
        self._last = (snippet.frames[current], kept)
        place = torch.tensor(current - min(snippet.frames))
        return to_pair(self.transform(arrays, index), gap, index) | {"place": place}


def worker_init(worker_id: int) -> None:
    """Gives one DataLoader worker one thread; cv2 would start one for each core in each worker."""
    cv2.setNumThreads(0)


def _usable(snippet: Snippet, with_mask: bool) -> list[int]:
    """The labelled frames that have a mask, where one is read."""
    numbers = sorted(snippet.labelled)
    return [n for n in numbers if n in snippet.masks] if with_mask else numbers


def _labelled(snippets: Sequence[Snippet], with_mask: bool) -> np.ndarray:
    """Returns position of the snippet and number of the frame for each labelled frame.

    (N, 2) int32, not a list: worker processes share an array, and each copies a list bit by bit.
    """
    numbers = [_usable(snippet, with_mask) for snippet in snippets]
    parts = [
        np.stack([np.full(len(of_one), position, np.int32), of_one], 1, dtype=np.int32)
        for position, of_one in enumerate(numbers)
        if of_one
    ]
    if not parts:
        raise ValueError(f"no labelled frame in {len(snippets)} snippets: nothing to learn from")
    return np.concatenate(parts)


def _with_gaps(snippets: Sequence[Snippet], gaps: Sequence[int], with_mask: bool) -> np.ndarray:
    """Returns position of the snippet, number of the frame and gap of each pair, (N, 3) int32."""
    _labelled(snippets, with_mask)  # says so where nothing is labelled at all
    parts = [np.empty((0, 3), np.int32)]
    for position, snippet in enumerate(snippets):
        frames = snippet.frames
        numbers = _usable(snippet, with_mask)
        rows = [(position, n, g) for n in numbers for g in gaps if n - g in frames]
        parts.append(np.array(rows, np.int32).reshape(-1, 3))
    return np.concatenate(parts)


def first_usable(make: Callable[[int], Pair], index: int, count: int, kind: str) -> Pair:
    """Makes one pair, or where it is damaged the next that is not, and counts those passed over.

    Args:
        make: Number of a pair -> the pair; a damaged one is a SampleError.
        index: Number of the pair.
        count: How many there are; after the last comes the first.
        kind: What a message calls them, such as "pairs".

    Raises:
        SampleError: `GIVE_UP_AFTER` in a row are damaged.
    """
    for skipped in range(GIVE_UP_AFTER):
        try:
            return make((index + skipped) % count) | {"skipped": torch.tensor(skipped)}
        except (SampleError, FileNotFoundError) as error:
            last_error = error
    raise SampleError(
        f"{GIVE_UP_AFTER} {kind} in a row cannot be used, which is no accident: check that the "
        f"data set is complete; the last: {last_error}"
    ) from last_error


def to_pair(arrays: Arrays, gap: int, index: int) -> Pair:
    """Makes tensors of the arrays of one pair, planes first, and adds its numbers; see `Pair`."""
    tensors = {}
    for name, array in arrays.items():
        # a copy, always: at gap 0 both frames are one array, and one may be kept for the next pair
        tensor = torch.from_numpy(array.copy(order="C"))
        # a view: channels stay last in memory, as convolutions like them, and nothing is turned
        tensors[name] = tensor.permute(2, 0, 1) if array.ndim == 3 else tensor
    tensors["size"] = torch.tensor(arrays["current"].shape[:2])
    numbers = {"gap": gap, "index": index, "skipped": 0}
    return tensors | {name: torch.tensor(number) for name, number in numbers.items()}
