"""What is left of a reproduction, and about how long it takes, in words."""

from dff.lit.reproduction.runs import Reproduction, Training, read_json

Kind = tuple[bool, bool]
"""Whether a training is of a flow network, and whether its length is told in steps."""


def describe_trainings(work: Reproduction) -> str:
    """One line for each training: what there is to do."""
    lines = []
    for name, training in work.trainings.items():
        length = f"{training.steps} steps" if training.steps > 0 else "as long as its config says"
        state = work.state(name)
        said = {
            "new": f"to train, {length}",
            "begun": f"to go on, {length} in all",
            "finished": "finished",
            "other settings": "to train again, for its settings differ",
        }[state]
        if state == "other settings":
            differing = work.difference(name)
            said += f": {', '.join(differing[:3])}{', ..' if len(differing) > 3 else ''}"
        lines.append(f"  {name}: {said}")
    return "\n".join(lines)


def describe_rest(work: Reproduction) -> str:
    """How many trainings and evaluations are left, and the time that they take."""
    trainings = sum(work.state(name) != "finished" for name in work.trainings)
    evaluations = sum(work.result(evaluation) is None for evaluation in work.evaluations)
    seconds, unknown = seconds_left(work)
    about = f"about {seconds / 60:.0f} minutes" if seconds or not unknown else "time unknown yet"
    if seconds and unknown:
        about += f", and {unknown} of unknown length"
    return f"left: {trainings} trainings and {evaluations} evaluations, {about}"


def seconds_left(work: Reproduction) -> tuple[float, int]:
    """Seconds that are left, told by what is finished here; and how many runs that cannot tell."""
    rates: dict[Kind, list[float]] = {}
    for name, training in work.trainings.items():
        stamp = read_json(work.folder(name) / "finished.json")
        if stamp is not None and stamp["seconds"] is not None:
            rate = stamp["seconds"] / max(stamp["steps"], 1)
            rates.setdefault(_kind(training), []).append(rate)
    seconds, unknown = 0.0, 0
    for name, training in work.trainings.items():
        if work.state(name) != "finished":
            known = rates.get(_kind(training))
            unknown += not known
            seconds += max(training.steps, 1) * _mean(known)
    found = [work.result(evaluation) for evaluation in work.evaluations]
    done = [result["seconds"] for result in found if result is not None]
    left = len(found) - len(done)
    return seconds + left * _mean(done), unknown + (0 if done else left)


def _kind(training: Training) -> Kind:
    return training.name.startswith("flow_"), training.steps > 0


def _mean(values: list[float] | None) -> float:
    return sum(values) / len(values) if values else 0.0
