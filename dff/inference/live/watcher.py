"""`Watcher`: one live source through the model, with key frames in line or beside it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dff.data.transforms.pairs import EvaluationTransform
from dff.data.transforms.unit_range import to_unit_range
from dff.inference.evidence import plan, plans_ahead
from dff.inference.key_frame import KeyFrame, find_flows
from dff.inference.model import Model
from dff.inference.recognizer import Predictions, Recognized, recognize_frames, size_of
from dff.inference.together import is_first, recognize_together
from dff.models.schedule import Schedule


class Seen(NamedTuple):
    """What was found on a frame.

    `predictions`: head -> (1, ...) on the CPU. `is_key`: whether it became a key frame. `age`: how
    many frames ago the key frame was that it was recognised from, 0 for itself.
    """

    predictions: Predictions
    is_key: bool
    age: int


class Watcher:
    """Recognises frames of one source in order, whatever happens to it in between.

    A key frame takes ten times as long as another one, and a live stream stutters at each. With an
    executor, the feature network runs on the next key frame in a thread beside, and frames go on
    from the old one; the change happens when it is done. The frames until then are recognised as
    those of a key frame that has not come yet.

    Args:
        model: On its device.
        schedule: Asked about each frame; may be replaced at any time.
        resizing: Of what the networks see.
        beside: Runs the feature network; None runs it in line. Only a schedule that looks at
            numbers and frames alone can be asked before.

    Raises:
        ValueError: The schedule looks at flow, and key frames are to be found beside.
    """

    def __init__(
        self,
        model: Model,
        schedule: Schedule,
        resizing: EvaluationTransform | None = None,
        beside: Executor | None = None,
    ) -> None:
        if beside is not None and not plans_ahead(schedule):
            raise ValueError(
                "a schedule that looks at flow asks for a key frame when its flow is found, so "
                "key frames cannot be found beside it: leave --async_keys out, or take --schedule "
                "fixed"
            )
        self.model, self.schedule, self.beside = model, schedule, beside
        self.resizing = resizing or EvaluationTransform()
        self._key: KeyFrame | None = None
        self._coming: Future[KeyFrame] | None = None
        self._index = 0
        self._size: tuple[int, int] | None = None

    def reset(self) -> None:
        """Begins anew: the next frame is a key frame."""
        self._key, self._coming, self._index = None, None, 0

    @property
    def joins(self) -> bool:
        """Whether its frames may go through the networks with those of other sources."""
        return self.beside is None and plans_ahead(self.schedule)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of its last picture."""
        return self._size

    @torch.inference_mode()
    def see(self, picture: np.ndarray) -> Seen:
        """Recognises the next frame.

        Args:
            picture: (H, W, 3) uint8 RGB; another size than before begins anew.

        Raises:
            ValueError: It cannot be recognised, as where it is too small for the flow network.
        """
        return self._see(*self._next(picture))

    def _next(self, picture: np.ndarray) -> tuple[Tensor, int]:
        """A picture as the networks see it, (1, 3, H, W), and its number."""
        if picture.shape[:2] != self._size:
            self.reset()
            self._size = (picture.shape[0], picture.shape[1])
        shown = self.resizing({"key": picture, "current": picture})["current"]
        frame = torch.from_numpy(np.ascontiguousarray(shown)).permute(2, 0, 1).unsqueeze(0)
        frame = to_unit_range(frame.to(self.model.device))
        index, self._index = self._index, self._index + 1
        return frame, index

    def _see(self, frame: Tensor, index: int) -> Seen:
        if self.beside is not None and self._key is not None:
            return self._beside(frame, index, self.beside)
        networks = self.model.networks
        found = recognize_frames(networks, frame, self.schedule, self._key, index, self._size)
        return self._kept(found, index)

    def _wants_key(self, frame: Tensor, index: int) -> bool:
        last = None if self._key is None else self._key.as_last()
        (wanted,) = plan(self.schedule, frame, index, last)
        return wanted

    def _kept(self, found: Recognized, index: int) -> Seen:
        found.check()
        self._key = found.last
        return Seen(_on_cpu(found.predictions), found.key_frames[0], index - found.last.index)

    def _beside(self, frame: Tensor, index: int, beside: Executor) -> Seen:
        networks, key = self.model.networks, self._key
        assert key is not None
        if self._coming is not None and self._coming.done():
            coming, self._coming = self._coming, None
            key = self._key = coming.result()
        wanted = self._wants_key(frame, index) and self._coming is None
        if wanted:
            self._coming = beside.submit(self._encode, frame, index, key.number + 1)
        flow = find_flows(networks, key, frame)
        features = networks.carry(key.features, flow)
        predictions = networks.predict(features, self._size or size_of(frame), size_of(frame))
        self._key = key.after(frame, flow, 1)
        return Seen(_on_cpu(predictions), wanted, index - key.index)

    @torch.inference_mode()
    def _encode(self, frame: Tensor, index: int, number: int) -> KeyFrame:
        return KeyFrame(frame, self.model.networks.encode(frame), index, number)


@torch.inference_mode()
def see_together(
    watchers: Sequence[Watcher], pictures: Sequence[np.ndarray]
) -> Iterator[tuple[int, Seen | ValueError]]:
    """Recognises the next frame of each of several sources of one model, as `Watcher.see` does.

    Where all are of one size, key frames go through the feature network in one batch, and the
    others through the flow network and the heads in another one, which comes first: no frame waits
    for the key frame of another source.

    Yields:
        The number of the source, and what was found or why nothing was.
    """
    begun = [w._next(picture) for w, picture in zip(watchers, pictures, strict=True)]
    groups: defaultdict[tuple[bool, object], list[int]] = defaultdict(list)
    for i, (watcher, (frame, index)) in enumerate(zip(watchers, begun, strict=True)):
        key, sizes = watcher._key, (watcher.size, size_of(frame))
        if not watcher.joins:
            groups[False, i].append(i)
        elif key is None or watcher._wants_key(frame, index):
            groups[True, sizes].append(i)
        else:
            groups[False, (sizes, is_first(watcher.model.networks, key))].append(i)
    for (are_keys, _), group in sorted(groups.items(), key=lambda item: item[0][0]):
        own, frames = [watchers[i] for i in group], [begun[i] for i in group]
        yield from zip(group, _seen_at_once(own, frames, are_keys), strict=True)


def _seen_at_once(
    watchers: Sequence[Watcher], begun: Sequence[tuple[Tensor, int]], are_keys: bool
) -> list[Seen | ValueError]:
    frames, indices = zip(*begun, strict=True)
    networks, size = watchers[0].model.networks, watchers[0].size
    keys = [watcher._key for watcher in watchers]
    try:
        if len(watchers) == 1:
            return [watchers[0]._see(frames[0], indices[0])]
        every = recognize_together(networks, torch.cat(frames), indices, keys, are_keys, size)
    except ValueError as error:  # of their size, which they share
        return [error] * len(watchers)
    seen: list[Seen | ValueError] = []
    for watcher, found, index in zip(watchers, every, indices, strict=True):
        try:
            seen.append(watcher._kept(found, index))
        except ValueError as error:
            seen.append(error)
    return seen


def _on_cpu(predictions: Predictions) -> Predictions:
    return {name: value.cpu() for name, value in predictions.items()}
