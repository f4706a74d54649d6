"""Which key frame goes with a labelled frame: a random gap in training, every gap in evaluation."""

from collections.abc import Callable, Iterator, Sequence, Sized

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler

from dff.data.images import read_image
from dff.data.samples import Pair, SampleError, Snippet
from dff.data.transforms import Arrays

ReadMask = Callable[[str], np.ndarray]
"""Label file -> (H, W) uint8 train ids; `cityscapes.read_train_ids` or a `folder.MaskReader`."""
Transform = Callable[[Arrays, int], Arrays]

GIVE_UP_AFTER = 10
"""Damaged samples in a row after which a training stops."""


class TrainingPairs(Dataset[Pair]):
    """One entry for each labelled frame; its key frame is drawn.

    An item is a pure function of (index, seed), whatever worker or machine makes it.

    Args:
        snippets: From a `find_snippets`. Those without labels are passed over.
        read_mask: Reads a label file.
        transform: (arrays, seed) -> arrays, such as `TrainingTransform`.
        gaps: Smallest and largest gap. Drawn evenly among those whose key frame exists; gap 0
            where none does.
        gap_0_share: Probability of gap 0; the others share the rest evenly. None: gap 0 is like
            any other.
        skip_damaged: Whether a sample that cannot be read is replaced by the next, and counted.
        with_flow: Whether the exact flow comes along. Where it is not known, flow_known is False.

    Raises:
        ValueError: An argument is out of its range, or no frame is labelled.
    """

    def __init__(
        self,
        snippets: Sequence[Snippet],
        read_mask: ReadMask,
        transform: Transform,
        gaps: tuple[int, int] = (0, 9),
        gap_0_share: float | None = None,
        skip_damaged: bool = False,
        with_flow: bool = False,
    ) -> None:
        if not 0 <= gaps[0] <= gaps[1]:
            raise ValueError(f"gaps {tuple(gaps)}: want smallest and largest, 0 <= s <= l")
        if gap_0_share is not None and not 0 <= gap_0_share <= 1:
            raise ValueError(f"gap_0_share {gap_0_share}: want a number from 0 to 1, or None")
        self.entries = _labelled(snippets)
        self.read_mask, self.transform = read_mask, transform
        self.gaps, self.gap_0_share = (int(gaps[0]), int(gaps[1])), gap_0_share
        self.skip_damaged, self.with_flow = skip_damaged, with_flow

    def __len__(self) -> int:
        return len(self.entries)

    def draw_gap(self, index: int, rng: np.random.Generator) -> int:
        """Draws the gap of one entry, among those whose key frame exists."""
        snippet, current = self.entries[index]
        first, last = self.gaps
        there = [gap for gap in range(first, last + 1) if current - gap in snippet.frames]
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
        for skipped in range(GIVE_UP_AFTER):
            at = (index + skipped) % len(self)
            rng = np.random.default_rng(seed)
            snippet, current = self.entries[at]
            gap = self.draw_gap(at, rng)
            try:
                arrays = _read(snippet, current, gap, self.read_mask, self.with_flow)
            except SampleError as error:
                if not self.skip_damaged:
                    raise
                last_error = error
                continue
            arrays = self.transform(arrays, int(rng.integers(2**31)))
            return _pair(arrays, gap, at, skipped)
        raise SampleError(
            f"{GIVE_UP_AFTER} samples in a row cannot be used, which is no accident: check that "
            f"the data set is complete; the last: {last_error}"
        ) from last_error


class EvaluationPairs(Dataset[Pair]):
    """Each labelled frame with each gap whose key frame exists: frame by frame, gap by gap.

    Args:
        snippets: From a `find_snippets`. Those without labels are passed over.
        read_mask: Reads a label file.
        transform: (arrays, seed) -> arrays, such as `EvaluationTransform`; the seed is the index.
        gaps: The gaps.
        with_flow: Whether the exact flow comes along. Where it is not known, flow_known is False.

    Raises:
        ValueError: No frame is labelled, or none has a key frame at one of the gaps.
    """

    def __init__(
        self,
        snippets: Sequence[Snippet],
        read_mask: ReadMask,
        transform: Transform,
        gaps: Sequence[int] = tuple(range(10)),
        with_flow: bool = False,
    ) -> None:
        self.entries = [
            (snippet, current, gap)
            for snippet, current in _labelled(snippets)
            for gap in gaps
            if current - gap in snippet.frames
        ]
        if not self.entries:
            raise ValueError(
                f"no labelled frame has a key frame at one of the gaps {tuple(gaps)}: set "
                "--data.val_gaps to gaps that exist, such as 0, or add the frames before the "
                "labelled ones"
            )
        self.read_mask, self.transform, self.with_flow = read_mask, transform, with_flow
        self._last: tuple[str, np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Pair:
        """Makes one pair.

        Raises:
            SampleError: A file cannot be used; an evaluation that skips it compares to nothing.
        """
        snippet, current, gap = self.entries[index]
        known = self._last
        if known is None or known[0] != snippet.frames[current]:
            known = None
        arrays = _read(snippet, current, gap, self.read_mask, self.with_flow, known)
        # the next entries are the same labelled frame with other gaps
        self._last = (snippet.frames[current], arrays["current"], arrays["mask"])
        return _pair(self.transform(arrays, index), gap, index, 0)


class DrawSampler(DistributedSampler):
    """Draws (index, seed) for `TrainingPairs`, the same whatever the workers and machines.

    Lightning replaces samplers under DDP, but not a `DistributedSampler`.

    Args:
        dataset: Only its length counts.
        num_replicas: Number of processes.
        rank: Number of this process.
        seed: With the epoch, all that order and seeds depend on.
        start: How many samples of this process the first epoch that is iterated passes over: the
            rest of an epoch that was stopped in its middle. The length stays that of an epoch.

    Raises:
        ValueError: The data set is empty, or rank, seed or start is out of its range.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
        start: int = 0,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("no samples to draw from: the data set is empty")
        if seed < 0 or start < 0:
            raise ValueError(f"seed {seed}, start {start}: want numbers from 0")
        # Ranks of unequal length would wait for each other for ever: the tail goes, another
        # one in each epoch. With fewer samples than ranks there is no whole round to keep.
        drop_last = len(dataset) >= num_replicas
        super().__init__(dataset, num_replicas, rank, seed=seed, drop_last=drop_last)
        self.start = start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        start, self.start = self.start, 0
        root = np.random.SeedSequence(self.seed, spawn_key=(self.epoch,))
        order = np.random.default_rng(root).permutation(len(self.dataset))
        mine = np.resize(order, self.total_size)[self.rank :: self.num_replicas]
        # the epoch is read now: a loader may still be handing this one out when the next is set
        return self._draws(mine[start:], self.epoch)

    def _draws(self, indices: np.ndarray, epoch: int) -> Iterator[tuple[int, int]]:
        for index in indices.tolist():
            sequence = np.random.SeedSequence(self.seed, spawn_key=(epoch, index))
            yield index, int(sequence.generate_state(1)[0])


def worker_init(worker_id: int) -> None:
    """Gives one DataLoader worker one thread; cv2 would start one for each core in each worker."""
    cv2.setNumThreads(0)


def _labelled(snippets: Sequence[Snippet]) -> list[tuple[Snippet, int]]:
    entries = [(s, current) for s in snippets for current in sorted(s.labels)]
    if not entries:
        raise ValueError(f"no labelled frame in {len(snippets)} snippets: nothing to learn from")
    return entries


def _read(
    snippet: Snippet,
    current: int,
    gap: int,
    read_mask: ReadMask,
    with_flow: bool,
    known: tuple[str, np.ndarray, np.ndarray] | None = None,
) -> Arrays:
    paths = (snippet.frames[current - gap], snippet.frames[current], snippet.labels[current])
    try:
        frame = read_image(paths[1]) if known is None else known[1]
        mask = read_mask(paths[2]) if known is None else known[2]
        key = read_image(paths[0]) if gap else frame
        if mask.shape != frame.shape[:2]:
            raise SampleError(
                f"labels of another size: {_size(mask)}, but the frame is {_size(frame)}; "
                "labels have one pixel for each pixel of their frame"
            )
        if key.shape != frame.shape:
            raise SampleError(
                f"frames of two sizes in one snippet: the key frame is {_size(key)}, the current "
                f"{_size(frame)}"
            )
    except (SampleError, FileNotFoundError) as error:
        raise SampleError(
            f"{error} (snippet {snippet.name}, key frame {paths[0]}, current frame {paths[1]}, "
            f"labels {paths[2]})"
        ) from error
    arrays = {"key": key, "current": frame, "mask": mask}
    if with_flow:
        arrays |= _flow(snippet, current, gap, mask.shape)
    return arrays


def _flow(snippet: Snippet, current: int, gap: int, shape: tuple[int, ...]) -> Arrays:
    flow, occluded = np.zeros((*shape, 2), np.float32), np.zeros(shape, bool)
    known = gap == 0 or snippet.truth is not None
    if gap and snippet.truth is not None:
        flow, occluded = snippet.truth.flow(current, current - gap)
    return {"flow": flow, "flow_known": np.full(shape, known), "occluded": occluded}


def _pair(arrays: Arrays, gap: int, index: int, skipped: int) -> Pair:
    tensors = {}
    for name, array in arrays.items():
        planes = array.transpose(2, 0, 1) if array.ndim == 3 else array
        # a copy, always: at gap 0 both frames are one array, and one may be kept for the next pair
        tensors[name] = torch.from_numpy(planes.copy(order="C"))
    numbers = {"gap": gap, "index": index, "skipped": skipped}
    return tensors | {name: torch.tensor(number) for name, number in numbers.items()}


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
