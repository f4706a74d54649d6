"""The scripts as a user calls them: help, configs, mistakes, and a whole small run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from small import ROOT, SMALL

from dff.configs import FOLDER
from dff.exit import run_script
from dff.lit.cli import FitCLI

CONFIGS = sorted(FOLDER.glob("*.yaml"))


def run(script, *arguments, cwd=None, check=None):
    """Runs a script, or a verb through `-m dff`; `check` is the exit status wanted."""
    ours = [ROOT / "scripts" / script] if script.endswith(".py") else ["-m", "dff", script]
    done = subprocess.run(
        [sys.executable, *map(str, ours), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
    )
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done


def street_flags(root):
    flags = [f"--data.{name}={value}" for name, value in SMALL.items()]
    return [*flags, f"--data.root={root}", "--data.num_workers=0"]


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "scripts").glob("*.py")))
def test_help_says_what_a_script_is_for(script):
    assert "usage:" in run(script, "--help", check=0).stdout


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_each_config_is_complete_and_opens_with_its_reason(config, capsys):
    assert config.read_text().startswith("# ")
    needs_root = "root: ???" in config.read_text()
    with pytest.raises(SystemExit) as stop:
        FitCLI(
            config,
            [
                "--config",
                str(config),
                *(["--data.root=/data"] if needs_root else []),
                "--print_config",
            ],
        )
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["name"] == config.stem
    assert printed["model"]["class_path"] in (
        "dff.lit.module.LitDFF",
        "dff.lit.flow.LitFlow",
        "dff.lit.distillation.LitDistillation",
    )


def test_without_a_config_the_default_is_taken_and_flags_override_it(capsys):
    with pytest.raises(SystemExit):
        FitCLI(FOLDER / "streets.yaml", ["--trainer.devices", "8", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert int(printed["trainer"]["devices"]) == 8
    assert printed["data"]["class_path"] == "dff.lit.datamodules.datasets.Streets"


def test_flags_stand_above_the_settings_in_a_checkpoint(tmp_path, monkeypatch):
    """Lightning by itself puts those of the file in their place, without a word."""
    file, seen = tmp_path / "last.ckpt", []
    settings = {"_class_path": "dff.lit.module.LitDFF", "lr": 0.001, "feature_channels": 8}
    torch.save({"hyper_parameters": settings, "loops": {}, "optimizer_states": []}, file)
    monkeypatch.setattr(FitCLI, "instantiate_classes", lambda cli: seen.append(cli.config["fit"]))
    monkeypatch.setattr(FitCLI, "_run_subcommand", lambda cli, command: None)
    FitCLI(FOLDER / "streets.yaml", ["--ckpt_path", str(file), "--model.lr", "0.5"])
    assert seen[0].model.init_args.lr == 0.5 and seen[0].model.init_args.feature_channels != 8


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (["--trainer.max_steps=20"], True),
        (["--trainer.max_steps=7"], True),
        (["--trainer.max_steps=21"], False),
        (["--trainer.max_steps=-1", "--trainer.max_epochs=2"], True),
        (["--trainer.max_steps=-1", "--trainer.max_epochs=3"], False),
    ],
)
def test_a_training_that_is_finished_is_told(limit, told, tmp_path, monkeypatch, capsys):
    file = tmp_path / "last.ckpt"
    loops = {"fit_loop": {"epoch_progress": {"current": {"processed": 2}}}}
    torch.save({"loops": loops, "optimizer_states": [], "global_step": 20}, file)
    monkeypatch.setattr(FitCLI, "instantiate_classes", lambda cli: None)
    monkeypatch.setattr(FitCLI, "_run_subcommand", lambda cli, command: None)
    FitCLI(FOLDER / "streets.yaml", ["--ckpt_path", str(file), *limit])
    said = capsys.readouterr().out
    assert (f"nothing is left to train: {file} has 20 steps and 2 epochs" in said) == told


@pytest.mark.parametrize("content", [b"no checkpoint", {"state_dict": {}}, None])
def test_what_no_training_can_go_on_from_is_named(content, tmp_path):
    file = tmp_path / "odd.ckpt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises((ValueError, FileNotFoundError), match=r"odd\.ckpt") as told:
        FitCLI(FOLDER / "streets.yaml", ["--ckpt_path", str(file)])
    assert "dff fit" in str(told.value)


def test_a_wrong_key_in_a_config_is_named(tmp_path, capsys):
    config = tmp_path / "wrong.yaml"
    config.write_text((FOLDER / "streets.yaml").read_text().replace("lr:", "lerning_rate:"))
    with pytest.raises(SystemExit) as stop:
        FitCLI(config, ["--config", str(config), "--print_config"])
    assert stop.value.code != 0 and "lerning_rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("predict.py", ["absent.ckpt", "x.mp4"], "no checkpoint at absent.ckpt"),
        ("evaluate.py", ["absent.ckpt"], "no checkpoint at absent.ckpt"),
        ("evaluate.py", ["x.ckpt", "--schedule=no.pth"], "no learned schedule at no.pth"),
        ("evaluate.py", ["x.ckpt", "--key_duration=5"], "belong to a schedule: set it to change"),
        ("benchmark.py", ["--schedule", "fixed"], "--schedule fixed: it looks at nothing"),
        ("benchmark.py", ["--schedule", "no.pth"], "no learned schedule at no.pth"),
        ("benchmark.py", ["--key_durations", "0"], "key duration 0"),
        ("benchmark.py", ["--size", "32", "96"], "at least 64"),
        ("benchmark.py", ["--feature_network", "resnet9"], "feature network 'resnet9': wanted"),
        ("benchmark.py", ["--device", "abacus"], "device 'abacus' is none of this machine"),
        ("predict.py", ["absent.ckpt", "x.mp4", "--devices", "x"], "wanted a number, auto"),
        ("predict.py", ["absent.ckpt", "-x.mp4"], "of that name, give ./-x.mp4, or put -- before"),
        ("predict.py", ["absent.ckpt", "--", "-x.mp4"], "no checkpoint at absent.ckpt"),
        ("predict.py", ["absent.ckpt", "x.mp4", "--fps", "nan"], "nan frames per second: wanted a"),
        ("predict.py", ["absent.ckpt", "x.mp4", "--fps", "0"], "wanted a positive number"),
        ("predict.py", ["absent.ckpt", "x.mp4", "--fps", "fast"], "invalid float value: 'fast'"),
        ("benchmark_data.py", ["--pairs", "0"], "pairs 0: wanted at least 1"),
        ("fit.py", ["--ckpt_path", "last", "--name", "never"], "no last.ckpt below"),
        ("fit.py", ["--config", "absent.yaml"], "absent.yaml"),
        (
            "fit.py",
            [
                "--config",
                FOLDER / "cityscapes_r101.yaml",
                "--data.root",
                "nowhere",
                "--model.weights",
                "null",
                "--trainer.precision",
                "32-true",
                "--model.feature_network",
                "resnet18",
                "--model.flow_network",
                "flownet_half",
            ],
            "no folder nowhere",
        ),
    ],
)
def test_a_mistake_ends_in_one_clear_line(script, arguments, said, tmp_path):
    done = run(script, *arguments, cwd=tmp_path)
    assert done.returncode not in (0, -11)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (ValueError("size 3: wanted 4"), 1, "error: size 3: wanted 4\n"),
        (MisconfigurationException("no such device"), 1, "error: no such device\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (SIGTERMException(), 143, "terminated\n"),
        (RuntimeError("Error(s) in loading state_dict for X:\n\tsize of a.\n"), 1, "error: the c"),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated. "), 143, "term"),
    ],
)
def test_how_a_script_ends(raised, code, said, capsys):
    def main():
        raise raised

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == code
    assert capsys.readouterr().err.startswith(said)


def test_benchmark_writes_its_figures(tmp_path):
    done = run(
        *("benchmark.py", "--feature_network", "resnet18", "--flow_network", "flownet_half"),
        *("--size", "64", "96", "--key_durations", "1", "3", "--feature_channels", "32"),
        *("--rounds", "1", "--schedule", "change", "--json", tmp_path / "out.json"),
        check=0,
    )
    assert "schedule change: ms non-key" in done.stdout
    report = json.loads((tmp_path / "out.json").read_text())
    assert {"one_over_r_flops", "ms_key", "ms_current", "break_even", "rows"} <= report.keys()
    assert [row["key_duration"] for row in report["rows"]] == [1, 3]
    for row in report["rows"]:
        assert {"fps", "speedup", "speedup_eq7", "ratio"} <= row.keys()
        assert row["ratio_together"] == row["speedup_together"] / row["speedup_eq7"] > 0
    assert all(ms > 0 for ms in report["schedule"].values()) and len(report["schedule"]) == 4
    assert report["rows"][0]["speedup_together"] == 1 < report["rows"][1]["fps_together"]


def test_fit_evaluate_and_predict_one_after_the_other(streets_root, tmp_path):
    """The whole way of a user, with the run's folder as it is left behind."""
    done = run(
        *("fit.py", *street_flags(streets_root), "--output", tmp_path / "runs", "--name", "small"),
        *("--data.batch_size=2", "--data.val_every=6", "--model.feature_channels=16"),
        *("--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu"),
        *("--video_predictor.key_durations=[1,2]", "--video_predictor.rounds=1"),
        cwd=tmp_path,
        check=0,
    )
    assert "speed-up" in done.stdout
    folder = tmp_path / "runs" / "small" / "version_0"
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "metrics.csv", "video_predictor.json", "accuracy_speed.png"} <= names
    assert list((folder / "panels").glob("step_*.png"))
    assert list((tmp_path / "runs" / "small" / "wandb").glob("offline-run-*"))
    assert not (tmp_path / "config.yaml").exists()
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["model"]["init_args"]["feature_channels"] == 16

    checkpoint = folder / "checkpoints" / "last.ckpt"
    evaluated = run(
        *("evaluate.py", checkpoint, "--data=Streets", *street_flags(streets_root)),
        *("--data.val_every=6", "--key_durations=[1,2]", "--ablations=true"),
        *("--schedule", "change", "--key_duration", "3"),
        *("--output", tmp_path / "evaluated", "--accelerator=cpu"),
        cwd=tmp_path,
        check=0,
    )
    assert "flow = 0" in evaluated.stdout and "mIoU over whole videos" in evaluated.stdout

    frames = streets_root / "leftImg8bit_sequence" / "val" / "streets"
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    predicted = run(
        *("predict.py", checkpoint, frames, bad, "--output", tmp_path / "out"),
        *("--key_duration", "4", "--accelerator=cpu"),
        cwd=tmp_path,
        check=1,
    )
    assert "not predicted" in predicted.stderr and "bad.mp4" in predicted.stderr
    (report,) = Path(tmp_path / "out").glob("*.json")
    assert json.loads(report.read_text())["frames"] == SMALL["frames"]
    again = run(
        *("predict.py", checkpoint, frames, "--output", tmp_path / "out"),
        *("--key_duration", "4", "--accelerator=cpu"),
        cwd=tmp_path,
        check=0,
    )
    assert "finished already" in again.stdout


def test_a_flow_network_learns_drawn_pairs_and_is_measured_beside_others(tmp_path):
    out = tmp_path / "demo"
    run(
        *("demo_flow.py", "--networks", "flownet_half", "--steps", "2", "--output", out),
        cwd=tmp_path,
        check=0,
    )
    report = json.loads((out / "evaluation" / "flows.json").read_text())
    assert set(report) == {"zero", "dis_fast", "dis_medium", "flownet_half", "true"}
    assert 0 < report["true"]["epe"] < report["dis_medium"]["epe"] < report["zero"]["epe"]
    (tmp_path / "mine").mkdir()
    done = run("demo_flow.py", "--output", tmp_path / "mine", cwd=tmp_path)
    assert done.returncode == 1 and "holds no demo: choose a new folder" in done.stderr
