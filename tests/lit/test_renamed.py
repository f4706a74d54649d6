"""Old names of settings and classes: understood, and told once."""

import pytest
import yaml
from small import SMALL

from dff.lit import renamed as module
from dff.lit.arguments import Parser
from dff.lit.cli import FitCLI
from dff.lit.datamodules.pair_data import PairData
from dff.lit.renamed import renamed, renamed_words
from dff.lit.reproduction.reproduce import read_settings

OLD_NAMES = {new: old for old, new in module.DATA_SETTINGS.items()}


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(module, "_told", set())


@pytest.fixture
def old_config(streets_root, tmp_path, capsys):
    """What a small run saved before the names changed: all of its settings, by their old names."""
    flags = [f"--data.{name}={value}" for name, value in SMALL.items()]
    flags += [f"--data.root={streets_root}", "--data.num_workers=0", "--data.batch_size=2"]
    flags += ["--model.feature_channels=16", "--trainer.max_steps=1", "--trainer.accelerator=cpu"]
    flags += ["--trainer.limit_val_batches=0", "--trainer.num_sanity_val_steps=0"]
    flags += ["--video_predictor.on_fit_end=false", f"--output={tmp_path / 'runs'}"]
    flags += ["--trainer.precision=32-true", "--trainer.enable_progress_bar=false"]
    with pytest.raises(SystemExit):
        FitCLI("streets", [*flags, "--print_config"])
    settings = yaml.safe_load(capsys.readouterr().out)
    data = settings["data"]
    data["class_path"] = "dff.lit.datamodules.Streets"
    data["init_args"] = {OLD_NAMES.get(n, n): v for n, v in data["init_args"].items()}
    assert set(OLD_NAMES.values()) <= data["init_args"].keys()
    loggers = [("metrics_file.MetricsFile", {"save_dir": str(tmp_path / "runs"), "name": "dff"})]
    settings["trainer"]["logger"] = [
        {"class_path": f"dff.lit.{path}", "init_args": init_args} for path, init_args in loggers
    ]
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def test_the_saved_config_of_an_old_run_trains_a_step(old_config, tmp_path, capsys):
    FitCLI("streets", ["--config", str(old_config)])
    said = capsys.readouterr().err
    for old, new in module.DATA_SETTINGS.items():
        assert said.count(f"{old} is called {new} now") == 1, said
    assert said.count("dff.lit.metrics_file.MetricsFile is called dff.lit.loggers") == 1
    (saved,) = tmp_path.glob("runs/dff/version_0/config.yaml")
    settings = yaml.safe_load(saved.read_text())["data"]
    assert settings["class_path"] == "dff.lit.datamodules.datasets.Streets"
    assert module.DATA_SETTINGS.keys().isdisjoint(settings["init_args"])
    assert list(tmp_path.glob("runs/dff/version_0/checkpoints/last.ckpt"))


def test_a_reproduction_takes_it_as_its_config(old_config):
    """Notices are no part of what it reads from the settings."""
    settings = read_settings(old_config, ["--data.longest", "300"], "LitDFF")
    assert settings["data"]["class_path"] == "dff.lit.datamodules.datasets.Streets"
    assert settings["data"]["init_args"]["max_side"] == 300


def test_evaluation_takes_its_data(old_config, tmp_path):
    file = tmp_path / "data.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(old_config.read_text())["data"]))
    parser = Parser()
    parser.add_subclass_arguments(PairData, "data", default={"class_path": "Streets"})
    for words in (["--data", str(file)], ["--data", "dff.lit.datamodules.Streets"]):
        data = parser.parse_args([*words, "--data.least_visible=0.5"]).data
        assert data.class_path == "dff.lit.datamodules.datasets.Streets"
        assert data.init_args.min_visibility == 0.5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--data.longest", "9"], ["--data.max_side", "9"]),
        (["--data.init_args.val_longest=9"], ["--data.init_args.val_max_side=9"]),
        (["--flow.data.least_visible", "1"], ["--flow.data.min_visibility", "1"]),
        (["--data=dff.lit.flow_data.X"], ["--data=dff.lit.datamodules.flow_data.X"]),
        (["--data", "dff.lit.pair_data.X"], ["--data", "dff.lit.datamodules.pair_data.X"]),
        # what is like an old name, and is none
        (["--longest", "9", "--model.longest=9"], None),
        (["--data", "dff.lit.datamodules.flow_data.X"], None),
        (["--data.longest_side=9", "longest", 3], None),
    ],
)
def test_words_of_a_command_line(old, new):
    assert renamed_words(old) == (new or old)


def test_only_settings_of_data_are_renamed():
    model = {"class_path": "own.Model", "init_args": {"longest": 3}}
    data = {"class_path": "Folder", "init_args": {"longest": 3}}
    new = {"class_path": "Folder", "init_args": {"max_side": 3}}
    assert renamed({"model": model, "data": data}) == {"model": model, "data": new}
    assert renamed(data, of_data=True) == new
    assert renamed({"data": {"val_longest": None}}) == {"data": {"val_max_side": None}}


def test_each_new_name_is_there():
    import importlib
    import inspect

    for name in module.MODULES.values():
        assert importlib.import_module(name)
    assert set(module.DATA_SETTINGS.values()) <= set(inspect.signature(PairData).parameters)
