"""Pairs of two frames with true flow, read or drawn, as samples."""

from collections.abc import Callable

from torch.utils.data import Dataset

from dff.data.pairs import Transform, first_usable, to_pair
from dff.data.samples import Pair
from dff.data.transforms.pairs import Arrays

GAP = 1
"""The second frame of a pair is the key frame; all pairs count as neighbours in time."""


class FlowPairs(Dataset[Pair]):
    """Pairs with true flow current -> key, always at gap 1.

    An item is a pure function of its draw, whatever worker or machine makes it.

    Args:
        read: Number of a pair -> its arrays: a `flying_chairs.PairReader`, or the drawing of
            `drawn_pairs`. Worker processes get a copy.
        count: Number of pairs.
        transform: (arrays, seed) -> arrays, such as `FlowTransform`; None changes nothing.
        skip_damaged: Whether a pair that cannot be read is replaced by the next, and counted.
    """

    def __init__(
        self,
        read: Callable[[int], Arrays],
        count: int,
        transform: Transform | None = None,
        skip_damaged: bool = False,
    ) -> None:
        self.read, self.count, self.transform = read, count, transform
        self.skip_damaged = skip_damaged

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, draw: int | tuple[int, int]) -> Pair:
        """Makes one pair.

        Args:
            draw: Number of the pair, and the seed of its transform as `DrawSampler` gives it; the
                number alone, in evaluation, is the seed too.

        Raises:
            SampleError: A file cannot be used, or 10 pairs in a row if damaged ones are skipped.
        """
        index, seed = draw if isinstance(draw, tuple) else (draw, draw)
        if not 0 <= index < self.count:
            raise IndexError(f"pair {index} of {self.count}")  # ends a plain loop over the pairs
        if not self.skip_damaged:
            return self._make(index, seed)
        return first_usable(lambda at: self._make(at, seed), index, self.count, "pairs")

    def _make(self, index: int, seed: int) -> Pair:
        arrays = self.read(index)
        if self.transform is not None:
            arrays = self.transform(arrays, seed)
        return to_pair(arrays, GAP, index)
