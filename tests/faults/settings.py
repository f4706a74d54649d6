"""Weights and settings of a training that cannot be, or only seem so."""

from collections.abc import Callable

from data_sets import own_data
from place import Fault, Place
from warm import ROOT, Command


def fit(*words: object) -> Callable[[Place], Command]:
    return lambda place: place.fit(*words)


def from_file(name: str, flag: str) -> Callable[[Place], Command]:
    return lambda place: place.fit(f"{flag}={place.shared / name}")


SETTINGS = [
    Fault(
        "a batch larger than the data",
        fit("--data.batch_size=99"),
        "24 labelled frames.*at least one batch of 99",
    ),
    Fault("a batch of nothing", fit("--data.batch_size=0"), "wanted batches of at least 1"),
    Fault(
        "gaps that no frame has",
        fit("--data.val_gaps=[50]", "--trainer.limit_val_batches=9"),
        "gap",
    ),
    Fault(
        "fewer labels than every 13th",
        fit("--data.val_every=13", "--trainer.limit_val_batches=9"),
        "val_every 13 leaves no labelled frame",
    ),
    Fault("a model of other classes", fit("--model.num_classes=5"), "5 classes and the data 19"),
    Fault("a head that is none", fit("--model.heads={depth: 1.0}"), "heads|depth", code=(1, 2)),
    Fault("a network that is none", fit("--model.feature_network=resnet7"), "resnet7", code=(1, 2)),
    Fault(
        "boxes of masks",
        lambda p: own_data(p, lambda root: None, "--data.with_boxes=true"),
        "knows no boxes",
        code=(1, 2),
    ),
    Fault("no weights", fit("--model.weights=absent.pth"), r"absent\.pth"),
    Fault("weights of another network", from_file("flow.ckpt", "--model.weights"), r"flow\.ckpt"),
    Fault(
        "a flow of another network",
        lambda p: p.fit(
            "--model.flow_network=flownet_inception",
            f"--model.flow_weights={p.shared / 'flow.ckpt'}",
        ),
        r"flow\.ckpt",
    ),
    Fault(
        "a learning rate that spoils all",
        fit("--model.lr=1e30", "--trainer.max_steps=4"),
        "not finite|NaN|nan",
    ),
    Fault(
        "a factor for no part",
        fit("--model.lr_factors={bodie: 0.1}"),
        "no parameter is called 'bodie'",
    ),
    Fault(
        "one cycle without an end",
        fit("--model.optimizer=adamw", "--trainer.max_steps=-1", "--trainer.max_epochs=-1"),
        "wants an end: set --trainer.max_steps",
    ),
    Fault(
        "no checkpoint to go on from",
        fit("--ckpt_path=absent.ckpt"),
        r"no checkpoint at absent\.ckpt",
    ),
    Fault(
        "weights to go on from",
        from_file("model.ckpt", "--ckpt_path"),
        r"model\.ckpt.*dff fit",
    ),
    Fault(
        "text to go on from",
        lambda p: p.fit(f"--ckpt_path={ROOT / 'LICENSE'}"),
        "LICENSE.*dff fit",
    ),
    Fault(
        "streets of other settings", fit("--data.speed=3"), "holds streets of other settings: speed"
    ),
    Fault(
        "a flow of data without flow",
        lambda p: own_data(p, lambda root: None, "--model=LitFlow"),
        "flow|--",
        code=(1, 2),
    ),
]
