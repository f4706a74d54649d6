"""Accuracy and speed of a schedule over whole held-out videos, beside the fixed one."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dff.data.collation import collate
from dff.data.pair_files import read_frames
from dff.data.pairs import EvaluationPairs, worker_init
from dff.data.transforms.unit_range import to_unit_range
from dff.inference.model import Model
from dff.inference.results.rate import shortfall
from dff.inference.schedules.comparison import ScheduleRow
from dff.inference.schedules.measuring import Run, SeenFrame, run_live, warm_up
from dff.inference.schedules.whole_videos import fixed_as_often, row_of_runs
from dff.lit.datamodules.pair_data import PairData
from dff.lit.metrics.accuracy import FRAMES
from dff.models.analysis.complexity import Complexity
from dff.models.schedule import FixedSchedule, Schedule
from dff.models.schedules.named import FIXED, AskedSchedule


def over_whole_videos(
    model: Model,
    data: PairData,
    asked: AskedSchedule,
    cost: Complexity,
    rank: int = 0,
    world_size: int = 1,
) -> dict[str, list[ScheduleRow]]:
    """Runs a model over all held-out videos that have labels, once by each of two schedules.

    The other one is the fixed schedule with as nearly as many key frames as there is. Processes
    share the videos.

    Args:
        model: Ready for inference, on its device.
        data: Whose held-out videos count.
        asked: The schedule; the fixed one is evaluated alone.
        cost: Of the model, for Eq. 7.
        rank: Number of this process.
        world_size: How many there are.

    Returns:
        Measure of a task, such as `miou` -> the fixed schedule's row, then the other one's.

    Raises:
        ValueError: The schedule does not fit the model.
    """
    schedule = asked.made()
    for _, frames in _videos(data, model.device, rank, world_size):
        warm_up(model, frames, schedule)
        break

    def runs(title: str, schedule: Schedule) -> list[Run]:
        videos = _videos(data, model.device, rank, world_size)
        told = tqdm(videos, f"whole videos, {title}", disable=None, leave=False)
        return _gathered([run_live(model, frames, schedule, n) for n, frames in told])

    found = runs(asked.title, schedule)
    named = {asked.title: (asked.key_duration or float("nan"), found)}
    if not isinstance(schedule, FixedSchedule):
        fixed = fixed_as_often(found)
        named = {FIXED: (fixed.key_duration, runs(FIXED, fixed)), **named}
    if asked.frames_per_second is not None and rank == 0:
        counts = [(run.frames, len(run.key_frames), run.seconds) for run in found]
        count, keys, seconds = (sum(column) for column in zip(*counts, strict=True))
        wanted, smaller = asked.frames_per_second, "--data.val_short_side"
        if told := shortfall("whole videos", count, keys, seconds, wanted, smaller):
            print(f"warning: {told}", file=sys.stderr)
    return {
        task.measure.name: [
            row_of_runs(title, name, task, of_one, cost, duration)
            for title, (duration, of_one) in named.items()
        ]
        for name, task in model.tasks.items()
    }


class _Frame(NamedTuple):
    """A frame on its way from a loader process: (3, h, w) uint8, its size before, its truth."""

    shown: Tensor
    size: tuple[int, int]
    truth: dict[str, Tensor] | None


class _WholeVideos(Dataset[tuple[int, _Frame]]):
    """The frames of the held-out videos that have labels, video by video: (number, frame).

    The first key frame of a run is the first frame. Where labelled frames come late in their
    videos, as the twentieth of Cityscapes, they would all lie at the same place of a fixed
    schedule: then each video begins one frame later than the one before it, as long as no labelled
    frame is lost.
    """

    def __init__(self, data: PairData, rank: int, world_size: int) -> None:
        loader = data.evaluation_pairs([0], with_flow=False)
        # a loader does not tell what data set it has
        self.pairs = cast(EvaluationPairs, loader.dataset)
        self.labels = {
            (number, frame): i for i, (number, frame, _) in enumerate(self.pairs.entries.tolist())
        }
        self.entries: list[tuple[int, int]] = []
        videos = list(dict.fromkeys(number for number, _ in self.labels))
        for place in range(rank, len(videos), world_size):
            number = videos[place]
            frames = sorted(self.pairs.snippets[number].frames)
            first = next(i for i, frame in enumerate(frames) if (number, frame) in self.labels)
            self.entries += [(number, frame) for frame in frames[place % (first + 1) :]]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[int, _Frame]:
        number, frame = self.entries[index]
        if (labelled := self.labels.get((number, frame))) is not None:
            pair = self.pairs[labelled]
            height, width = pair["frame_size"].tolist()
            truth = {k: v for k, v in collate([pair]).items() if k not in FRAMES}
            tensors = {k: v for k, v in truth.items() if isinstance(v, Tensor)}
            return number, _Frame(pair["current"], (height, width), tensors)
        (picture,) = read_frames(self.pairs.snippets[number], [frame])
        seen = self.pairs.transform({"key": picture, "current": picture}, 0)["current"]
        shown = torch.from_numpy(seen.copy()).permute(2, 0, 1)
        return number, _Frame(shown, (picture.shape[0], picture.shape[1]), None)


def _videos(
    data: PairData, device: torch.device, rank: int, world_size: int
) -> Iterator[tuple[int, Iterator[SeenFrame]]]:
    """Number and frames of each video, read as they are taken."""
    # beside networks on a CPU, loader processes would take their cores while they are timed
    workers = data.num_workers if device.type != "cpu" else 0
    loader: DataLoader = DataLoader(
        _WholeVideos(data, rank, world_size),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=worker_init,
        collate_fn=_as_it_is,
    )
    for number, frames in groupby(loader, key=lambda item: int(item[0])):
        yield (
            number,
            (
                SeenFrame(to_unit_range(shown.unsqueeze(0).to(device)), size, truth)
                for _, (shown, size, truth) in frames
            ),
        )


def _as_it_is(item: Any) -> Any:
    return item


def _gathered(own: Sequence[Run]) -> list[Run]:
    """The runs of all processes, in the order of the videos."""
    parts: list[Sequence[Run]] = [own]
    if torch.distributed.is_initialized():
        parts = [[]] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, own)
    return sorted(chain.from_iterable(parts), key=lambda run: run.number)
