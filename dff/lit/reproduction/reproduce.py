"""The paper's tables from settings to a report: what is missing is trained and evaluated."""

import argparse
import contextlib
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser

from dff.inference.deploy.precision import fast_precision
from dff.inference.results.claims import claim, release
from dff.lit.cli import FitCLI, default_loggers
from dff.lit.datamodules.pair_data import PairData
from dff.lit.loggers.wandb_logger import OfflineWandb
from dff.lit.reproduction.choice import by_name, choose, paper_duration, weights_by_network
from dff.lit.reproduction.measures import evaluate_missing, measure_speeds, thinning
from dff.lit.reproduction.progress import describe_rest, describe_trainings
from dff.lit.reproduction.report import log_report, write_report
from dff.lit.reproduction.runs import Reproduction
from dff.lit.reproduction.schedules import asked_schedules, schedule_rows
from dff.lit.reproduction.tables import flop_table, variant_rows
from dff.lit.reproduction.variants import Settings, Variant


def reproduce(args: argparse.Namespace, flags: list[str], flow_flags: list[str]) -> int:
    """Trains what is missing, evaluates, and writes the report.

    Args:
        args: Of `dff reproduce`.
        flags: Settings over those of its config.
        flow_flags: Settings over those of its config of flow networks.

    Returns:
        1 where something failed, which the report says, too.
    """
    base = read_settings(args.config, flags, "LitDFF")
    flow_base = args.flow_config and read_settings(args.flow_config, flow_flags, "LitFlow")
    args.key_duration = args.key_duration or paper_duration(base)
    if not 1 <= args.key_duration <= args.longest:
        raise ValueError(f"--key_duration {args.key_duration}: wanted 1 to {args.longest}")
    sections = choose(args.table, base, args.pairs, args.skip, args.start == "trained")
    variants = by_name(sections)
    flow_weights = weights_by_network(args.flow_weights, base)
    work = Reproduction(
        args.output,
        base,
        flow_base,
        flow_weights,
        list(variants.values()),
        args.seeds if "4" in args.table else 1,
        args.longest,
    )
    durations = (args.key_duration, args.longest)
    named = [variant.name for variant in sections.get("4", ())]
    asked = asked_schedules(args.schedule, durations, named)
    data = make_data(base)
    rows, problems = [], []
    size: tuple[int, int] | None = None
    if variants or "2" in args.table:
        frames, _ = data.held_out_frames(args.longest)
        frames *= -(-args.longest // len(frames))  # a short video is shown again
        height, width = frames[0].shape[-2:]
        size = height, width
    if variants:
        every = thinning(list(variants.values()), data, frames, args.longest, args.minutes)
        print(describe_trainings(work))
        print(describe_rest(work), flush=True)
    if args.plan:
        return 0
    args.output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        # two that train one variant at once would spoil it for each other
        held.callback(release, claim(args.output, "reproduction"))
        if variants:
            problems += train_missing(work, args.precision_given)
            problems += evaluate_missing(work, data, every, lambda: print(describe_rest(work)))
            speeds, failed = measure_speeds(work, frames)
            problems += failed
            whole, failed = schedule_rows(work, data, asked)
            problems += failed
            for evaluation in work.evaluations:
                found = work.result(evaluation)
                if found is not None:
                    speed = speeds.get(evaluation.variant.runs_as or evaluation.variant.name)
                    every_duration = range(1, args.longest + 1)
                    rows += variant_rows(
                        evaluation.variant, evaluation.seed, found, speed, every_duration
                    )
            rows += whole
        table_2 = flop_table(base, size) if size and "2" in args.table else None
        report = write_report(
            args.output,
            f"The paper's tables on {type(data).__name__}",
            facts(base, data, args, variants.values(), size),
            sections,
            rows,
            durations,
            table_2,
            problems,
        )
        log_to_wandb(base, rows, args)
        print(f"report: {report}")
        for problem in problems:
            print(f"failed: {problem}", file=sys.stderr)
        return 1 if problems else 0


def read_settings(config: str | Path, flags: list[str], kind: str) -> Settings:
    """All settings of a config and flags, as `dff fit` takes them."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            FitCLI(config, ["--config", str(config), *flags, "--print_config"])
    except SystemExit as stop:
        if stop.code:  # it has said what is wrong
            raise
    settings = yaml.safe_load(printed.getvalue())
    if settings["model"]["class_path"].rpartition(".")[2] != kind:
        raise ValueError(f"{config} trains {settings['model']['class_path']}: wanted {kind}")
    return settings


def make_data(base: Settings) -> PairData:
    """The data of the config."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(PairData, "data")
    return parser.instantiate(parser.parse_object({"data": base["data"]})).data


def train_missing(work: Reproduction, precision_given: set[str]) -> list[str]:
    """Trains what is missing; returns what failed.

    Args:
        work: The reproduction.
        precision_given: The models, LitDFF or LitFlow, whose precision the user has chosen.
    """
    failed: dict[str, str] = {}
    for name, training in work.trainings.items():
        if work.state(name) == "finished":
            continue
        lost = [n for n in training.needs.values() if n in failed]
        if lost:
            failed[name] = f"{name} was not trained: it starts from {lost[0]}"
            continue
        kind = training.settings["model"]["class_path"].rpartition(".")[2]
        precision = [] if kind in precision_given else cheapest_precision(training.settings)
        started, words = time.perf_counter(), [*work.begin(name), *precision]
        log = work.folder(name) / "fit.log"
        print(f"\ntraining {name}, log in {log}", flush=True)
        code = fit(words, log)
        if code:
            failed[name] = f"{name} (exit code {code}): {last_words(log)}"
            print(f"failed: {failed[name]}", file=sys.stderr, flush=True)
        else:
            whole = "--ckpt_path" not in words
            work.finish(name, time.perf_counter() - started if whole else None)
        print(describe_rest(work), flush=True)
    return list(failed.values())


def fit(words: list[str], log: Path) -> int:
    """Runs `dff fit`; interrupted, it is given the time to save where it is."""
    with log.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dff", "fit", *words], stdout=file, stderr=file
        )
        try:
            return process.wait()
        except BaseException as stop:
            if isinstance(stop, SystemExit):  # Ctrl-C reaches it by itself
                process.terminate()
            try:
                process.wait()
            except BaseException:  # asked a second time
                process.terminate()
                process.wait()
                raise
            raise


def last_words(log: Path) -> str:
    """The last error that a log tells; its last line where it tells none."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(error|[\w.]*(Error|Exception)):", line)]
    return (errors or lines or ["it said nothing"])[-1][-300:]


def cheapest_precision(settings: Settings) -> list[str]:
    """bf16 is emulated on processors without matrix units: there fp32 is faster."""
    if settings["trainer"]["precision"] == "bf16-mixed" and not torch.cuda.is_available():
        return ["--trainer.precision", fast_precision()]
    return []


def facts(
    base: Settings,
    data: PairData,
    args: argparse.Namespace,
    variants: Iterable[Variant],
    size: tuple[int, int] | None,
) -> list[str]:
    """What was done, for the report."""
    repeated = [variant.title for variant in variants if variant.repeated]
    own, trainer = base["model"]["init_args"], base["trainer"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    said = [
        f"config {Path(args.config).name}: {own['feature_network']} with {own['feature_channels']} "
        f"channels, {own['flow_network']}, {trainer['max_steps']} steps of "
        f"{data.batch_size} pairs on each device",
        f"{args.seeds} seeds of {', '.join(repeated)}; one of all others"
        if "4" in args.table and args.seeds > 1 and repeated
        else "one seed",
    ]
    if args.table != ["2"]:
        said.append(
            "all variants start from one per-frame network, which was trained for as many steps "
            "before, and from one flow network"
            if args.start == "trained"
            else "each variant starts from what the config says; fix N has twice the steps, being "
            "trained after Frame"
        )
    if size:
        said.append(f"evaluated on frames of {size[0]}x{size[1]}, in fp32, on {device}")
    return said


def log_to_wandb(base: Settings, rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Sends the report to W&B where trainings go there."""
    if base["trainer"]["logger"] in (None, True) and rows:
        settings = default_loggers(str(args.output), "reproduce")[1].init_args
        Path(settings.save_dir).mkdir(parents=True, exist_ok=True)
        log_report(OfflineWandb(**vars(settings)), rows, args.output)
