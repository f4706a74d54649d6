"""The command `dff`: `dff VERB ...`, or `python -m dff VERB ...`.

The module of a verb is imported when the verb runs, and no other, so that help is there at once.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

from dff import __version__
from dff.exit import run_script

VERBS = {
    "fit": ("dff.commands.fit", "train Deep Feature Flow, or a flow network for it"),
    "predict": ("dff.commands.predict", "predict videos with a checkpoint"),
    "live": ("dff.commands.live", "recognise cameras and streams as they come"),
    "check": ("dff.commands.data.check", "what your own labels hold, and what is wrong with them"),
    "extract": ("dff.commands.data.extract", "write the frames of videos as images"),
    "evaluate": ("dff.commands.evaluate", "accuracy by gap, and speed, of a checkpoint"),
    "export": ("dff.commands.export", "a trained model for ONNX Runtime and other runtimes"),
    "speedup": ("dff.commands.speedup", "your own model on fewer frames of your own video"),
    "fit-schedule": ("dff.commands.schedules.fit", "learn where key frames are needed"),
    "compare-schedules": ("dff.commands.schedules.compare", "schedules at equal numbers of keys"),
    "benchmark": ("dff.commands.benchmark", "speed of networks, without data or weights"),
    "reproduce": ("dff.commands.reproduce", "the paper's tables on your data"),
    "convert": ("dff.commands.convert", "weights of other code as ours"),
    "measure-flow": ("dff.commands.measure_flow", "error of the flow inside a model"),
    "evaluate-flow": ("dff.commands.evaluate_flow", "error of flow functions, side by side"),
    "score-detections": ("dff.commands.score_detections", "mAP of detections of ImageNet VID"),
    "benchmark-data": ("dff.commands.data.benchmark_data", "training pairs per second of a loader"),
    "draw": ("dff.commands.demos.draw", "draw the street videos to a folder"),
    "draw-animation": ("dff.commands.demos.draw_animation", "draw the README's moving picture"),
    "demo": ("dff.commands.demos.demo", "train, evaluate and predict on drawn streets"),
    "demo-flow": ("dff.commands.demos.demo_flow", "train and compare the flow networks"),
}
"""Verb -> its module, which has `main(arguments)`, and what it is for."""


def main(words: Sequence[str] | None = None) -> None:
    """Runs a verb, and ends the process with its exit code.

    Args:
        words: The verb and its arguments; those of the command line if None.
    """
    verb, *rest = list(sys.argv[1:] if words is None else words) or [""]
    if verb in ("-h", "--help"):
        print(usage())
    elif verb == "--version":
        print(f"dff {__version__}")
    elif verb in VERBS:
        run_script(lambda: importlib.import_module(VERBS[verb][0]).main(rest))
    else:
        print(unknown(verb), file=sys.stderr)
        sys.exit(2)


def usage() -> str:
    """The verbs, one a line."""
    lines = [f"  {verb:18}{purpose}" for verb, (_, purpose) in VERBS.items()]
    return "\n".join(
        [
            "usage: dff VERB ...",
            "",
            "Deep Feature Flow: fast video segmentation and detection.",
            "",
            *lines,
            "",
            "dff VERB --help says what a verb takes, and dff --version which version this is.",
        ]
    )


def unknown(word: str) -> str:
    """What is said of a word that is no verb."""
    if not word:
        return f"{usage()}\n\nerror: dff wants a verb, such as dff fit"
    near = difflib.get_close_matches(word.replace("_", "-"), VERBS, n=1, cutoff=0.5)
    cure = f"the nearest is {near[0]!r}" if near else "dff --help lists them"
    return f"error: dff has no verb {word!r}: {cure}"


if __name__ == "__main__":
    main()
