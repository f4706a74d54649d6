"""What several tests share: a small set of drawn streets, and no word to the network."""

import multiprocessing
import os

import pytest
from small import SMALL

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ["WANDB_MODE"] = "offline"


@pytest.fixture(scope="session", autouse=True)
def no_worker_outlives_the_tests():
    """A worker that hangs fails its test by the time limit; it is not waited for at the exit."""
    yield
    for worker in multiprocessing.active_children():
        worker.kill()


@pytest.fixture(autouse=True)
def no_test_changes_the_scheduling():
    """A test that leaves the process a real-time one starves those after it, and the machine."""
    if not hasattr(os, "sched_getscheduler"):  # not Linux
        yield
        return
    before = os.sched_getscheduler(0)
    yield
    after = os.sched_getscheduler(0)
    if after != before:
        os.sched_setscheduler(0, before, os.sched_param(0))
    assert after == before


@pytest.fixture(scope="session")
def streets_root(tmp_path_factory):
    """Folder of a small drawn data set, in the Cityscapes layout."""
    from dff.data.synthetic.streets.dataset import StreetSettings, draw_streets

    root = tmp_path_factory.mktemp("data") / "streets"
    return draw_streets(root, StreetSettings(**SMALL), workers=2)


@pytest.fixture(scope="session")
def small_streets(streets_root):
    """Makes a data module over the small streets: small_streets(batch_size=2, ...)."""
    from dff.lit.datamodules.datasets import Streets

    def make(**kwargs):
        settings = {"batch_size": 2, "num_workers": 0, "val_gaps": [0, 4], "val_every": 4}
        return Streets(root=str(streets_root), **SMALL, **{**settings, **kwargs})

    return make


@pytest.fixture
def small_module():
    """Makes a small LitDFF: small_module(lr=..., ...)."""
    import torch

    from dff.lit.module import LitDFF

    def make(**kwargs):
        torch.manual_seed(0)
        settings = {
            "feature_network": "resnet18",
            "flow_network": "flownet_half",
            "feature_channels": 16,
            "batch_norm": "trained",
            "optimizer": "adamw",
        }
        return LitDFF(**{**settings, **kwargs})

    return make


@pytest.fixture
def trainer(tmp_path):
    """Makes a quiet trainer: trainer(max_steps=..., ...)."""
    import lightning as L
    from lightning.pytorch.loggers import CSVLogger

    def make(**kwargs):
        settings = {
            "accelerator": "cpu",
            "devices": 1,
            "logger": CSVLogger(tmp_path, name="run"),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "enable_checkpointing": False,
        }
        return L.Trainer(**{**settings, **kwargs})

    return make
