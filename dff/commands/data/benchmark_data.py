"""Measures how fast one loader process makes training pairs, beside decoding their images alone.

dff benchmark-data --data Cityscapes --data.root DIR
"""

import json
from collections import Counter
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import cv2
from jsonargparse import ArgumentParser
from torch.utils.data import DataLoader, Dataset

from dff.data.collation import collate
from dff.data.files.whole_files import write_whole
from dff.data.pairs import worker_init
from dff.lit.datamodules.by_name import PairData
from dff.lit.datamodules.flow_data import FlowData
from dff.lit.datamodules.loaders import first_training_loader

KINDS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG"}


def main(arguments: list[str] | None = None) -> None:
    """Prints the figures and writes them as JSON where asked."""
    parser = ArgumentParser(prog="dff benchmark-data", description=__doc__.splitlines()[0])
    parser.add_subclass_arguments((PairData, FlowData), "data", default={"class_path": "Streets"})
    parser.add_argument("--pairs", type=int, default=64, help="how many pairs are measured")
    parser.add_argument("--json", type=str, help="write the figures here")
    args = parser.parse_args(arguments)
    if args.pairs < 1:
        raise ValueError(f"pairs {args.pairs}: wanted at least 1")
    data = parser.instantiate(args).data
    loader = first_training_loader(data)
    batch_size = loader.batch_size or 1
    # Again from the first where an epoch is shorter.
    draws = list(islice(cycle(loader.sampler), batch_size + args.pairs))
    figures = {
        "data": type(data).__name__,
        "pairs": args.pairs,
        "loader_pairs_per_second": loader_rate(loader.dataset, draws, batch_size),
        **decoding(loader.dataset, draws[batch_size:]),
    }
    limit = figures["decode_pairs_per_second"]
    figures["ratio"] = limit and figures["loader_pairs_per_second"] / limit
    print(text(figures))
    if args.json:
        write_whole(Path(args.json), json.dumps(figures, indent=2) + "\n")


def loader_rate(pairs: Dataset, draws: list[Any], batch_size: int) -> float:
    """Pairs per second of a loader with one worker, from its second batch on."""
    loader = DataLoader(
        pairs,
        batch_size=batch_size,
        sampler=draws,
        num_workers=1,
        worker_init_fn=worker_init,
        collate_fn=collate,
    )
    batches = iter(loader)
    next(batches)  # the worker has started
    began, made = perf_counter(), 0
    for batch in batches:
        made += len(batch["gap"])
        ended = perf_counter()  # what comes after the last is the end of the worker
    return made / (ended - began)


def decoding(pairs: Dataset, draws: list[Any]) -> dict[str, Any]:
    """Makes pairs in this process, and decodes the images of each once more, and nothing else.

    Both times of a pair are taken one after the other, so that other load changes their ratio
    little. Reading the files and checking them is no part of the decode limit.
    """
    worker_init(0)  # one thread, as in a loader process
    decode, kinds = cv2.imdecode, Counter[str]()
    making = decoding = 0.0
    for draw in draws:
        with patch.object(cv2, "imdecode", wraps=decode) as recorded:
            began = perf_counter()
            pairs[draw]
            making += perf_counter() - began
        began = perf_counter()
        for call in recorded.call_args_list:
            decode(*call.args, **call.kwargs)
        decoding += perf_counter() - began
        kinds.update(_kind(call.args[0]) for call in recorded.call_args_list)
    return {
        "process_pairs_per_second": len(draws) / making,
        "decode_pairs_per_second": len(draws) / decoding if kinds else None,
        "images": dict(kinds),
    }


def text(figures: dict[str, Any]) -> str:
    """The figures in a few lines."""
    images = ", ".join(f"{count} {kind}" for kind, count in figures["images"].items())
    lines = [
        f"{figures['data']}: {figures['pairs']} pairs of {images or 'drawn frames'}",
        f"one loader process   {figures['loader_pairs_per_second']:8.2f} pairs/s",
        f"without the loader   {figures['process_pairs_per_second']:8.2f} pairs/s",
    ]
    if images:
        lines += [
            f"decoding alone       {figures['decode_pairs_per_second']:8.2f} pairs/s",
            f"ratio                {figures['ratio']:8.2f} of the decode limit",
        ]
    return "\n".join(lines)


def _kind(data: Any) -> str:
    head = data[:4].tobytes()
    return next((kind for magic, kind in KINDS.items() if head.startswith(magic)), "other")
