"""The paper's tables on your data: trains what is missing, evaluates, and writes one report.

    dff reproduce --config cityscapes_r101 --data.root DIR \\
        --flow_weights flownet.ckpt --table 4 5 --output runs/reproduce

Settings of dff fit after the config's (--data.X, --model.X, --trainer.X) go to every training, and
with --flow.X in front (--flow.data.root DIR) to that of the flow networks. Interrupted, the same
command goes on; what is finished is not done again.
"""

import argparse
import signal
import sys
from pathlib import Path

from dff.lit.reproduction.variants import TABLE_4, TABLE_5, TABLES


def main(arguments: list[str] | None = None) -> int:
    """Tells what there is to do, does it, and says what failed."""
    args, flags, flow_flags = parse(arguments)

    from dff.lit.reproduction.reproduce import reproduce

    # else a training would outlive us, and the next call would begin a second one in its folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return reproduce(args, flags, flow_flags)


def parse(
    arguments: list[str] | None = None,
) -> tuple[argparse.Namespace, list[str], list[str]]:
    """Our arguments, and those of `dff fit` for Deep Feature Flow and for flow networks."""
    parser = argparse.ArgumentParser(
        prog="dff reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="of a training of LitDFF")
    parser.add_argument("--table", nargs="+", choices=(*TABLES, "all"), default=["all"])
    parser.add_argument("--seeds", type=int, default=3, help="of the variants of Table 4")
    parser.add_argument(
        "--start",
        choices=["trained", "random"],
        default="trained",
        help="all variants start from one per-frame network that is trained first (trained), or "
        "each from what the config says (random)",
    )
    parser.add_argument("--output", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--flow_config", help="trains the flow networks that are missing")
    parser.add_argument(
        "--flow_weights",
        nargs="+",
        default=[],
        metavar="FILE",
        help="trained flow network of the config; NAME=FILE for another",
    )
    names = [v.name for v in (*TABLE_4, *TABLE_5)]
    parser.add_argument(
        "--skip", nargs="+", default=[], choices=names, help="variants to leave out"
    )
    parser.add_argument("--pairs", nargs="+", help="FEATURE+FLOW networks of Figure 3")
    parser.add_argument("--key_duration", type=int, help="of the tables (5; detection: 10)")
    parser.add_argument("--longest", type=int, default=10, help="key duration that is evaluated")
    parser.add_argument(
        "--minutes",
        type=float,
        default=2.0,
        help="for each classical flow: a slow one is evaluated on a part of the frames",
    )
    parser.add_argument(
        "--schedule",
        help="change, or a file that dff fit-schedule wrote: also DFF by it in Table 4, over whole "
        "videos, beside the fixed schedule",
    )
    parser.add_argument("--plan", action="store_true", help="only tell what there is to do")
    args, rest = parser.parse_known_args(arguments)
    if args.seeds < 1:
        raise ValueError(f"--seeds {args.seeds}: wanted at least 1")
    args.table = list(TABLES) if "all" in args.table else args.table
    flags: list[str] = []
    flow_flags: list[str] = []
    target = None
    for word in rest:
        if word.startswith("--"):
            target = flow_flags if word.startswith("--flow.") else flags
            word = word.replace("--flow.", "--", 1)
        if target is None:
            raise ValueError(f"{word!r} belongs to no option: see --help")
        target.append(word)
    args.precision_given = {
        kind
        for kind, words in (("LitDFF", flags), ("LitFlow", flow_flags))
        if any(word.startswith("--trainer.precision") for word in words)
    }
    return args, flags, flow_flags
