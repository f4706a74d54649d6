"""What a reproduction of the paper's tables runs, and what of it is finished.

A training is a run of `dff fit` in a folder of its own. Two files there say how far it is:
`settings.json`, written when it begins, and `finished.json`, written last. Both hold a code of all
that decides its result, that of the trainings it starts from included.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from dff.data.files.json_values import nan_to_none
from dff.data.files.whole_files import write_whole
from dff.lit.checkpoints import last_checkpoint
from dff.lit.reproduction.variants import Settings, Variant, training_settings

State = Literal["new", "begun", "finished", "other settings"]

MACHINE = (
    *(("name",), ("output",), ("trainer", "precision"), ("trainer", "accelerator")),
    *(("data", "init_args", "num_workers"), ("trainer", "enable_progress_bar")),
)
"""Settings that say where and how a training runs, and not what it is."""


@dataclass(frozen=True)
class Training:
    """One run of `dff fit`.

    Args:
        name: Of its folder.
        settings: Its config.
        needs: Flag of `dff fit` -> the training whose last checkpoint it takes, or a file.
    """

    name: str
    settings: Settings
    needs: Mapping[str, str | Path] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimiser steps; -1 where its length is told in epochs."""
        return int(self.settings["trainer"]["max_steps"])


@dataclass(frozen=True)
class Evaluation:
    """One variant with one seed: the training whose checkpoint it takes, and a flow to add."""

    variant: Variant
    seed: int
    training: str
    flow: str | Path | None = None

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.variant.name}_seed_{self.seed}"


class Reproduction:
    """All trainings and evaluations of some variants, and their state on disk.

    Args:
        output: Folder of everything.
        base: Settings of `LitDFF`, from a config and flags.
        flow_base: Settings of `LitFlow`, where a flow network is to be trained.
        flow_weights: Name of a flow network -> file of one that is trained already.
        variants: Name -> variant.
        seeds: Seeds of a variant that is repeated.
        longest: The longest key duration that is evaluated.

    Raises:
        ValueError: A flow network is wanted, and there is neither file nor config for it.
        FileNotFoundError: Its file is not there.
    """

    def __init__(
        self,
        output: Path,
        base: Settings,
        flow_base: Settings | None,
        flow_weights: Mapping[str, Path],
        variants: Sequence[Variant],
        seeds: int,
        longest: int = 10,
    ) -> None:
        self.output, self.base, self.longest = output, base, longest
        self.flow_base, self.flow_weights = flow_base, flow_weights
        self.trainings: dict[str, Training] = {}
        self.evaluations: list[Evaluation] = []
        for variant in variants:
            for seed in range(seeds if variant.repeated else 1):
                self._add(variant, seed)

    def _add(self, variant: Variant, seed: int) -> None:
        added = None
        if variant.trained:
            training = self._train(variant, seed)
        else:
            assert variant.network_from, "what is not trained takes another variant's network"
            training = self._train(variant.network_from, seed)
            added = self._flow(variant) if variant.flow == "pretrained" else None
        self.evaluations.append(Evaluation(variant, seed, training, added))

    def _train(self, variant: Variant, seed: int) -> str:
        name = f"{variant.name}_seed_{seed}"
        needs: dict[str, str | Path] = {}
        if variant.network_from:
            needs["--model.weights"] = self._train(variant.network_from, seed)
        if variant.flow == "pretrained":
            needs["--model.flow_weights"] = self._flow(variant)
        settings = training_settings(variant, self.base, seed)
        self.trainings.setdefault(name, Training(name, settings, needs))
        return name

    def _flow(self, variant: Variant) -> str | Path:
        network = variant.model.get("flow_network", self.base["model"]["init_args"]["flow_network"])
        if (file := self.flow_weights.get(network)) is not None:
            if not file.is_file():
                raise FileNotFoundError(f"no flow weights at {file}: see --flow_weights")
            return file
        if self.flow_base is None:
            raise ValueError(
                f"{variant.title} starts from a trained {network}: give its file with "
                f"--flow_weights {network}=FILE, or a config to train it with --flow_config, such "
                "as demo_flow"
            )
        settings = copy.deepcopy(self.flow_base)
        settings["model"]["init_args"]["flow_network"] = network
        name = f"flow_{network}"
        self.trainings.setdefault(name, Training(name, settings))
        return name

    # ------------------------------------------------------------------ state

    def folder(self, training: str) -> Path:
        """The folder of a training."""
        return self.output / "trainings" / training

    def last(self, source: str | Path) -> Path:
        """The last checkpoint of a training; a file is itself."""
        return last_checkpoint(self.folder(source)) if isinstance(source, str) else source

    def code(self, source: str | Path | None) -> str | None:
        """Stands for all that decides the result of a training, or for the content of a file."""
        if source is None:
            return None
        if isinstance(source, Path):
            with source.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
        training = self.trainings[source]
        needs = {flag: self.code(need) for flag, need in training.needs.items()}
        return _code([what(training.settings), needs])

    def state(self, training: str) -> State:
        """How far a training is."""
        stamps: dict[str, State] = {"finished.json": "finished", "settings.json": "begun"}
        for file, state in stamps.items():
            if (stamp := read_json(self.folder(training) / file)) is not None:
                return state if stamp["code"] == self.code(training) else "other settings"
        return "new"

    def begin(self, training: str) -> list[str]:
        """Prepares the folder of a training; returns the arguments of `dff fit`.

        What was trained with other settings is moved aside; what was begun goes on.
        """
        plan, folder = self.trainings[training], self.folder(training)
        state = self.state(training)
        if state == "other settings":
            number = 1
            while (aside := folder.with_name(f"{folder.name}_replaced_{number}")).exists():
                number += 1
            folder.rename(aside)
        goes_on = state == "begun" and any(folder.glob("**/last*.ckpt"))
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "config.yaml"
        write_whole(config, yaml.safe_dump(plan.settings, sort_keys=False))
        write_json(
            folder / "settings.json",
            {"code": self.code(training), "settings": what(plan.settings)},
        )
        needs = {flag: self.last(need) for flag, need in plan.needs.items()}
        return [
            *("--config", str(config), "--name", training),
            *("--output", str(folder.parent)),
            *[f"{flag}={file}" for flag, file in needs.items()],
            *(["--ckpt_path", "last"] if goes_on else []),
        ]

    def difference(self, training: str) -> list[str]:
        """The settings in which a training on disk differs from what is wanted now."""
        stamp = read_json(self.folder(training) / "settings.json") or {"settings": {}}
        before = _flat(stamp["settings"])
        now = _flat(json.loads(json.dumps(what(self.trainings[training].settings))))
        names = sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))
        return names or ["what it starts from"]

    def finish(self, training: str, seconds: float | None) -> None:
        """Marks a training as finished; `seconds` is None where it was not timed as a whole."""
        write_json(
            self.folder(training) / "finished.json",
            {
                "code": self.code(training),
                "steps": self.trainings[training].steps,
                "seconds": seconds,
            },
        )

    def trained(self, evaluation: Evaluation) -> bool:
        """Whether all that an evaluation takes is trained."""
        needs = [n for n in (evaluation.training, evaluation.flow) if isinstance(n, str)]
        return all(self.state(name) == "finished" for name in needs)

    def finished(self, variant: Variant, seed: int) -> Evaluation | None:
        """The evaluation of a variant with a seed, where all that it takes is trained."""
        own = [e for e in self.evaluations if (e.variant.name, e.seed) == (variant.name, seed)]
        return own[0] if own and self.trained(own[0]) else None

    def evaluation_code(self, evaluation: Evaluation) -> str:
        """Stands for all that decides the result of an evaluation."""
        data = what({"data": copy.deepcopy(self.base["data"])})
        sources = [self.code(evaluation.training), self.code(evaluation.flow)]
        variant = evaluation.variant
        return _code([data, sources, variant.flow, variant.refreshed, self.longest])

    def result(self, evaluation: Evaluation) -> dict[str, Any] | None:
        """What an evaluation found; None where it is not done, or with other settings."""
        found = read_json(self._result_file(evaluation))
        current = found is not None and found["code"] == self.evaluation_code(evaluation)
        return found if current else None

    def write_result(self, evaluation: Evaluation, found: dict[str, Any]) -> None:
        """Keeps what an evaluation found."""
        found = {"code": self.evaluation_code(evaluation), **found}
        write_json(self._result_file(evaluation), found)

    def _result_file(self, evaluation: Evaluation) -> Path:
        return self.output / "evaluations" / f"{evaluation.name}.json"


def what(settings: Settings) -> Settings:
    """The settings without those of the machine."""
    settings = copy.deepcopy(settings)
    for *path, name in MACHINE:
        place = settings
        for part in path:
            place = place.get(part, {})
        place.pop(name, None)
    return settings


def read_json(file: Path) -> dict[str, Any] | None:
    """What a file holds; None where there is none, or half of one."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Writes a file that is whole or not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(nan_to_none(content), indent=1) + "\n")


def _code(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        called = f"{before}{name}"
        if isinstance(value, dict) and name != "lr_factors":
            flat |= _flat(value, f"{called}.")
        else:
            flat[called] = value
    return flat
