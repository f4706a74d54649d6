"""`Watcher`: one live source through the model, with key frames in line or beside it."""

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
from dff.inference.recognizer import Predictions, recognize_frames, size_of
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

    @torch.inference_mode()
    def see(self, picture: np.ndarray) -> Seen:
        """Recognises the next frame.

        Args:
            picture: (H, W, 3) uint8 RGB; another size than before begins anew.

        Raises:
            ValueError: It cannot be recognised, as where it is too small for the flow network.
        """
        if picture.shape[:2] != self._size:
            self.reset()
            self._size = (picture.shape[0], picture.shape[1])
        shown = self.resizing({"key": picture, "current": picture})["current"]
        frame = torch.from_numpy(np.ascontiguousarray(shown)).permute(2, 0, 1).unsqueeze(0)
        frame = to_unit_range(frame.to(self.model.device))
        index, self._index = self._index, self._index + 1
        if self.beside is None or self._key is None:
            return self._in_line(frame, index)
        return self._beside(frame, index, self.beside)

    def _in_line(self, frame: Tensor, index: int) -> Seen:
        networks = self.model.networks
        found = recognize_frames(networks, frame, self.schedule, self._key, index, self._size)
        found.check()
        self._key = found.last
        age = index - found.last.index
        return Seen(_on_cpu(found.predictions), found.key_frames[0], age)

    def _beside(self, frame: Tensor, index: int, beside: Executor) -> Seen:
        networks, key = self.model.networks, self._key
        assert key is not None
        if self._coming is not None and self._coming.done():
            coming, self._coming = self._coming, None
            key = coming.result()
        (wanted,) = plan(self.schedule, frame, index, key.as_last())
        wanted = wanted and self._coming is None
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


def _on_cpu(predictions: Predictions) -> Predictions:
    return {name: value.cpu() for name, value in predictions.items()}
