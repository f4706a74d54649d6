"""Schedules by what a person calls them."""

from dataclasses import dataclass
from pathlib import Path

from dff.models.schedule import FixedSchedule, Schedule
from dff.models.schedules.adaptive import AdaptiveSchedule, BudgetSchedule
from dff.models.schedules.learned import loaded_need
from dff.models.schedules.needs import Change, Need
from dff.models.weights.files import read_torch

FIXED, CHANGE, LEARNED = "fixed", "change", "learned"
USUAL_KEY_DURATION = 5


@dataclass(frozen=True)
class AskedSchedule:
    """A schedule as a person asks for it; arguments and errors as those of `named_schedule`."""

    name: str = FIXED
    key_duration: int | None = None
    frames_per_second: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        self.made()

    def made(self) -> Schedule:
        """The schedule."""
        return named_schedule(self.name, self.key_duration, self.frames_per_second, self.threshold)

    @property
    def title(self) -> str:
        """In tables: "fixed", "change" or "learned"."""
        return self.name if self.name in (FIXED, CHANGE) else LEARNED


def named_schedule(
    name: str = FIXED,
    key_duration: int | None = None,
    frames_per_second: float | None = None,
    threshold: float | None = None,
) -> Schedule:
    """A schedule by its name.

    Args:
        name: "fixed"; "change", where the picture differs from the warped key frame; or a file that
            `dff fit-schedule` wrote, where the result would differ.
        key_duration: Of the fixed schedule, 5 if None; the mean one that the others hold.
        frames_per_second: What the others hold instead.
        threshold: Of the need of a frame, instead of either.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: There is no such schedule, or it cannot be what is asked of it.
    """
    given = {
        "key_duration": key_duration,
        "frames_per_second": frames_per_second,
        "threshold": threshold,
    }
    set_ones = [option for option, value in given.items() if value is not None]
    if name == FIXED:
        if wrong := [option for option in set_ones if option != "key_duration"]:
            raise ValueError(
                f"{wrong[0]} with the fixed schedule: it has a key duration alone; take the "
                "schedule change, or one that dff fit-schedule wrote"
            )
        return FixedSchedule(USUAL_KEY_DURATION if key_duration is None else key_duration)
    if len(set_ones) > 1:
        raise ValueError(f"{' and '.join(set_ones)} for one schedule: wanted one of them")
    need = named_need(name)
    if key_duration is None and frames_per_second is None:
        return AdaptiveSchedule(need, threshold)
    return BudgetSchedule(need, key_duration, frames_per_second)


def named_need(name: str) -> Need:
    """What the adaptive schedule of this name decides by; errors as `named_schedule`."""
    if name == CHANGE:
        return Change()
    cure = "give a file that dff fit-schedule wrote"
    if Path(name).suffix == "" and not Path(name).exists():
        raise ValueError(
            f"schedule {name!r}: wanted fixed, change, or a file that dff fit-schedule wrote"
        )
    saved = read_torch(Path(name), "a learned schedule", cure)
    try:
        return loaded_need(saved)
    except (KeyError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        raise ValueError(f"{name} holds no learned schedule: {cure}") from error
