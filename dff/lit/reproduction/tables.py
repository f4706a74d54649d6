"""The paper's tables from measured figures, beside the paper's own, and what they say in words."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch

from dff.inference.tasks.segmentation import Segmentation
from dff.lit.evaluation.schedule_accuracy import at_key_duration
from dff.lit.reproduction.variants import FRAME, TABLE_2, TITLES, Variant
from dff.models import build
from dff.models.analysis.complexity import complexity

Row = dict[str, Any]

MEASURE = {"miou": "mIoU", "map": "mAP"}
WHOLE = "dff_whole_"
"""What the names of rows begin with that are of DFF over whole videos, by a schedule."""
PAPER = {"miou": ("Cityscapes", 5), "map": ("ImageNet VID", 10)}
"""Where the paper's figures come from, and their key duration."""
ORDERS = (
    *(("frame", "dff"), ("dff", "fix_n"), ("dff", "fix_f")),
    *(("fix_n", "fix_f"), ("fix_n", "separate")),
    *(("dff", "sff_slow"), ("dff", "sff_fast"), ("dff", "sff_dis"), ("dff", "no_scale")),
)
"""The first is above the second, in the paper (DIS is ours). `copy` is to be below all."""


def variant_rows(
    variant: Variant, seed: int, found: Row, speed: Row | None, durations: Sequence[int]
) -> list[Row]:
    """One row for each key duration: accuracy of one seed, speed of the variant's networks."""
    rows = []
    for duration in durations:
        row = {"variant": variant.name, "title": variant.title, "seed": seed}
        row |= {"key_duration": duration, "pairs": found["pairs"], "all_pairs": found["all_pairs"]}
        row |= at_key_duration(found["accuracy"], duration)
        if "dff_accuracy" in found:
            beside = at_key_duration(found["dff_accuracy"], duration)
            row |= {f"dff_{n}": beside[n] for n in ("miou_mean", "map_mean") if n in beside}
        if speed is not None:
            at = 1 if variant.name == FRAME.name else duration  # it has no key frames
            (timed,) = [r for r in speed["rows"] if r["key_duration"] == at]
            names = ("fps", "speedup", "speedup_eq7", "ms_key", "ms_current")
            row |= {name: timed[name] for name in names}
        rows.append(row)
    return rows


def schedule_table(rows: Sequence[Row], measure: str, durations: Sequence[int]) -> str | None:
    """DFF by each schedule over whole videos, as Markdown; None where nothing was run."""
    own = [row for row in rows if row["variant"].startswith(WHOLE) and f"{measure}_mean" in row]
    columns = ["", "key frames", "mean l", f"{MEASURE[measure]} %", "5th percentile %"]
    columns += ["worst ten frames %", "fps", "Eq. 7"]
    lines = []
    for duration in durations:
        for name, title in {r["variant"]: r["title"] for r in own}.items():
            if not any((r["variant"], r["key_duration"]) == (name, duration) for r in own):
                continue
            values = [f"{measure}_{which}" for which in ("mean", "fifth", "stretch")]
            lines.append(
                [
                    f"{title}, l = {duration}" + (" asked for" if "fixed" not in title else ""),
                    _cell(rows, name, duration, "key_frames", "{:.0f}"),
                    _cell(rows, name, duration, "mean_key_duration"),
                    *[_cell(rows, name, duration, value, "{:.1f}", 100) for value in values],
                    _first(rows, name, duration, "fps"),
                    _cell(rows, name, duration, "speedup_eq7"),
                ]
            )
    return markdown(columns, lines) if lines else None


def mean_spread(rows: Sequence[Row], variant: str, duration: int, name: str) -> tuple:
    """Mean over the seeds, standard deviation (None of one seed) and number of seeds."""
    values = list(_by_seed(rows, variant, duration, name).values())
    if not values:
        return None, None, 0
    spread = statistics.stdev(values) if len(values) > 1 else None
    return statistics.fmean(values), spread, len(values)


def _by_seed(rows: Sequence[Row], variant: str, duration: int, name: str) -> dict[int, float]:
    return {
        row["seed"]: row[name]
        for row in rows
        if (row["variant"], row["key_duration"]) == (variant, duration)
        and row.get(name) is not None
    }


def accuracy_table(
    rows: Sequence[Row], variants: Sequence[Variant], measure: str, duration: int
) -> str:
    """Accuracy and speed of variants at one key duration, beside the paper's, as Markdown."""
    source, at = PAPER[measure]
    runs = any(f"{measure}_run" in row for row in rows)
    columns = ["", f"{MEASURE[measure]} %", "worst", *(["whole snippets"] if runs else [])]
    columns += ["S = 1", "flow = 0", "copied", "EPE px", "fps", "speed-up", "Eq. 7"]
    beside = duration == at
    if beside:
        columns.append(f"paper, {source}: {MEASURE[measure]} %, fps")
    lines = []
    for variant in variants:
        ways = [f"{measure}_run"] if runs else []
        ways += [f"{way}_{measure}_mean" for way in ("no_scale", "no_flow", "copy")]
        paper = variant.paper.get(measure)
        lines.append(
            [
                variant.title + _share(rows, variant.name),
                *[
                    _cell(rows, variant.name, duration, n, "{:.1f}", 100)
                    for n in (f"{measure}_mean", f"{measure}_worst", *ways)
                ],
                _cell(rows, variant.name, duration, "epe"),
                *[_first(rows, variant.name, duration, n) for n in ("fps", "speedup")],
                _first(rows, variant.name, duration, "speedup_eq7"),
                *([f"{paper[0]:.1f}, {paper[1]:.2f}" if paper else "-"] if beside else []),
            ]
        )
    return markdown(columns, lines)


def _cell(
    rows: Sequence[Row],
    variant: str,
    duration: int,
    name: str,
    form: str = "{:.2f}",
    factor: float = 1,
) -> str:
    """The mean over the seeds, and their spread."""
    mean, spread, _ = mean_spread(rows, variant, duration, name)
    text = "-" if mean is None else form.format(factor * mean)
    return text if spread is None else f"{text} ± {form.format(factor * spread)}"


def _first(rows: Sequence[Row], variant: str, duration: int, name: str) -> str:
    """Speed is that of the networks, whatever the seed."""
    mean, _, _ = mean_spread(rows, variant, duration, name)
    return "-" if mean is None else f"{mean:.2f}"


def _share(rows: Sequence[Row], variant: str) -> str:
    found = [row for row in rows if row["variant"] == variant]
    if not found or found[0]["pairs"] == found[0]["all_pairs"]:
        return ""
    return f" (on {found[0]['pairs']} of {found[0]['all_pairs']} pairs)"


def order_words(
    rows: Sequence[Row], variants: Sequence[Variant], measure: str, duration: int
) -> list[str]:
    """Which orders of the paper hold, and by how much against the spread over the seeds.

    Two variants are compared on the seeds that both have: a seed draws the same pairs for all. The
    spread of the difference of two means over n seeds is s * sqrt(2 / n), where s is the standard
    deviation of one run, pooled over the variants that have several.
    """
    titles = {variant.name: variant.title + _share(rows, variant.name) for variant in variants}
    name = f"{measure}_mean"
    parts = {v for v in titles if _share(rows, v)}
    found = {v: _by_seed(rows, v, duration, name) for v in titles}
    found = {v: values for v, values in found.items() if values}
    several = [list(values.values()) for values in found.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    pooled = None
    if freedom:
        squares = sum((len(values) - 1) * statistics.variance(values) for values in several)
        pooled = math.sqrt(squares / freedom)
    last = [(v, "copy") for v in found if v not in ("copy", "frame")]
    words = []
    for above, below in (*ORDERS, *last):
        if above not in found or below not in found:
            continue
        high, low = found[above], found[below]
        if above == "dff" and below in parts:  # on the same part of the frames
            high = _by_seed(rows, below, duration, f"dff_{name}")
        elif above in parts:
            low = _by_seed(rows, above, duration, f"copy_{name}")
        seeds = high.keys() & low.keys()
        if not seeds:
            continue
        difference = 100 * statistics.fmean(high[seed] - low[seed] for seed in seeds)
        if pooled is None:
            how = "the spread is not known: one seed"
        else:
            spread = 100 * pooled * math.sqrt(2 / len(seeds))
            within = abs(difference) <= spread
            how = f"{'within' if within else 'beyond'} the spread of {spread:.2f}"
        verdict = "holds" if difference > 0 else "DIFFERS"
        words.append(
            f"- {titles[above]} above {titles[below]}: {verdict}, {difference:+.2f} ({how})."
        )
    return words


def flop_table(base: dict[str, Any], size: tuple[int, int]) -> str:
    """Table 2: FLOPs of the feature network over those of the flow network, as Markdown."""
    lines = []
    for (features, flow), paper in TABLE_2.items():
        ratio = one_over_r(features, flow, 1024, (600, 1000))
        lines.append([TITLES[features], TITLES[flow], "600x1000", f"{ratio:.2f}", f"{paper:.2f}"])
    own = base["model"]["init_args"]
    features, flow, channels = (
        own[n] for n in ("feature_network", "flow_network", "feature_channels")
    )
    ratio = one_over_r(features, flow, channels, size)
    if ratio is not None:
        where = f"{size[0]}x{size[1]}, {channels} channels"
        lines.append(
            [TITLES.get(features, features), TITLES.get(flow, flow), where, f"{ratio:.2f}", "-"]
        )
    return markdown(["feature network", "flow network", "frame", "ratio", "paper"], lines)


def one_over_r(
    features: build.FeatureNetworkName,
    flow: build.FlowName,
    channels: int,
    size: tuple[int, int],
) -> float | None:
    """O(N_feat) / O(F) of two networks for a frame of `size` (H, W)."""
    with torch.device("meta"):  # nothing is computed: only shapes count
        model = build.deep_feature_flow(
            build.feature_network(features, channels), flow, [Segmentation()]
        )
    return complexity(model, size).one_over_r


def flow_table(
    rows: Sequence[Row], variants: Sequence[Variant], measure: str, durations: Sequence[int]
) -> str:
    """Flow functions beside each other: accuracy at some key durations, and their time."""
    columns = ["", *[f"{MEASURE[measure]} %, l = {at}" for at in durations], "EPE px", "ms a frame"]
    lines = []
    for variant in variants:
        values = [mean_spread(rows, variant.name, at, f"{measure}_mean")[0] for at in durations]
        epe = mean_spread(rows, variant.name, durations[-1], "epe")[0]
        ms = mean_spread(rows, variant.name, durations[-1], "ms_current")[0]
        lines.append(
            [
                variant.title + _share(rows, variant.name),
                *["-" if v is None else f"{100 * v:.1f}" for v in values],
                "-" if epe is None else f"{epe:.2f}",
                "-" if ms is None else f"{ms:.1f}",
            ]
        )
    return markdown(columns, lines)


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
