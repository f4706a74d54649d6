"""The videos of a list, shared by the actors of a Ray cluster."""

import dataclasses
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from dff.data.video.sources import VideoInput
from dff.inference.cluster.claim_files import EXPIRY
from dff.inference.cluster.shared_work import SharedWork
from dff.inference.results.writer import ResultWriter

_BLOCKS = 2000
"""Most parts of a list, each of which is one task of Ray; a part of 50 videos is still short."""
_STORE_BYTES = 128 * 2**20
_ANSWER_SECONDS, _FAREWELL_SECONDS = 10.0, 5.0


class Run(Protocol):
    """A model that is ready for videos, and the writer of its results."""

    writer: ResultWriter

    def __call__(self, videos: Iterable[VideoInput]) -> object:
        """Predicts videos one after the other."""
        ...


class RayCrew:
    """Actors of a Ray cluster, each with a model of its own.

    Only names of videos go to them and a line for each comes back: frames are decoded by the actor
    that needs them and never reach the object store. Which video is done, or is broken, is on the
    disk, as with `SharedWork`, which every actor uses: a video of an actor that dies goes to
    another one, and what was done is not done again.

    Args:
        address: Of the cluster; "auto" for the one that this machine belongs to, "local" for a new
            one on this machine.
        actors: Least and most; as many as the cluster has room for if None.
        cpus: Cores of each actor; each has a GPU of its own where the cluster has some.
        expiry: Seconds of silence after which an actor on another machine counts as dead.

    Raises:
        ValueError: Ray is not installed.
    """

    def __init__(
        self,
        address: str = "local",
        actors: tuple[int, int] | None = None,
        cpus: int = 1,
        expiry: float = EXPIRY,
    ) -> None:
        if not all(find_spec(package) for package in ("ray", "pyarrow")):  # Ray Data wants both
            raise ValueError(
                "--ray wants Ray Data, which is not installed: pip install 'dff[ray]', or share "
                "the videos with --claim, which needs nothing"
            )
        self.address, self.actors, self.cpus, self.expiry = address, actors, cpus, expiry

    def predict(self, work: SharedWork, make: Callable[[], Run]) -> None:
        """Predicts what of the work is not done.

        Args:
            work: The videos; its `failed` has in the end what could not be predicted.
            make: Called once by each actor.

        Raises:
            ValueError: There is no cluster at the address.
        """
        videos = work.open_items()
        if not videos:
            work.join()
            return
        asked_to_end = signal.getsignal(signal.SIGTERM)
        started = self._connect()
        import ray

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, asked_to_end)  # Ray has one of its own
        done, failed = 0, 0
        try:
            for row in self._rows(videos, make, work.folder):
                if row["failure"]:
                    failed += 1
                    work.writer.failed[row["name"]] = row["failure"]
                else:
                    done += 1
                work.join(row["name"])
                if work.progress.due():
                    work.progress.tell(done, failed)
            work.join()
        finally:
            if started:
                ray.shutdown()
            self._clear(work)

    def _connect(self) -> bool:
        """Connects, unless that is done; whether it is this one's to disconnect."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no word to anybody
        os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
        import ray

        if ray.is_initialized():
            return False
        more: dict[str, Any] = {}
        if self.address == "local":
            most = self.actors[1] * self.cpus if self.actors else None
            more = {"num_cpus": most, "object_store_memory": _STORE_BYTES}
            more["include_dashboard"] = False
        try:
            # Ray itself would ask for many minutes.
            if place := re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", self.address):
                with socket.create_connection((place[1], int(place[2])), _ANSWER_SECONDS):
                    pass
            ray.init(self.address, logging_level=logging.ERROR, log_to_driver=False, **more)
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"no Ray cluster answers at {self.address} ({str(error).splitlines()[0]}): check "
                "the address, or give local for one on this machine"
            ) from error
        return True

    def _rows(
        self, videos: Sequence[VideoInput], make: Callable[[], Run], claims: Path
    ) -> Iterator[dict]:
        import ray

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1  # one video may take hours
        context.max_errored_blocks = -1  # one that is lost is seen by what is on the disk
        gpus = ray.cluster_resources().get("GPU", 0)
        room = gpus or ray.cluster_resources().get("CPU", 1) // self.cpus
        least, most = self.actors or (1, max(1, int(room)))
        items = [{"video": json.dumps(dataclasses.asdict(video))} for video in videos]
        rows = ray.data.from_items(items, override_num_blocks=min(len(items), _BLOCKS)).map_batches(
            _Actor,
            fn_constructor_args=(make, self.expiry, os.getcwd(), str(claims)),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=min(least, len(items)),
                max_size=min(most, len(items)),
                max_tasks_in_flight_per_actor=2,
            ),
            num_cpus=self.cpus,
            num_gpus=1 if gpus else None,
        )
        yield from rows.iter_rows()

    def _clear(self, work: SharedWork) -> None:
        """Actors that were ended with the run are no reason to leave a video alone later."""
        if self.address != "local":
            return
        deadline = time.monotonic() + _FAREWELL_SECONDS
        while True:
            if not work.clear() or time.monotonic() > deadline:
                return
            time.sleep(0.1)


class _Actor:
    """Predicts the videos that Ray gives it; the model is made once."""

    def __init__(self, make: Callable[[], Run], expiry: float, folder: str, claims: str) -> None:
        if os.path.isdir(folder):
            os.chdir(folder)  # relative names mean there what they mean to who asked
        self.run, self.expiry, self.claims = make(), expiry, claims

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        names, failures = [], []
        for item in batch["video"]:
            values = json.loads(str(item))
            frames = values.pop("frames")
            values["segment"] = tuple(values["segment"])
            video = VideoInput(**values, frames=None if frames is None else tuple(frames))
            names.append(video.name)
            try:
                with SharedWork(
                    [video], self.run.writer, self.expiry, speaks=False, folder=self.claims
                ) as work:
                    self.run(work)
                failures.append({**work.unfinished(), **work.failed}.get(video.name, ""))
            except (OSError, ValueError) as error:
                failures.append(f"not predicted: {video.path}: {error}")
            except (RuntimeError, MemoryError):
                # After an error of the device nothing works in this process; Ray starts another.
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
        return {"name": names, "failure": failures}
