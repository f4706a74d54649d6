"""A setting that is not there is named with its place and the nearest that is."""

import pytest

from dff.configs import FOLDER
from dff.lit.arguments import Parser
from dff.lit.cli import FitCLI
from dff.lit.datamodules.datasets import PairData

STREETS = FOLDER / "streets.yaml"


def told_by(words, capsys):
    with pytest.raises(SystemExit) as stop:
        FitCLI(STREETS, [*map(str, words), "--print_config"])
    assert stop.value.code == 2
    heard = capsys.readouterr().err
    said = heard[heard.index("error: ") :]  # libraries may have said something at their import
    assert len(said.splitlines()) <= 3 and len(said) < 600 and "usage:" not in heard
    return said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("    lr: ", "    momentun: ", ("LitDFF", "'momentun'", "'momentum'")),
        ("    val_every: ", "    val_evry: ", ("Streets", "'val_evry'", "'val_every'")),
        ("  max_steps: ", "  max_stepz: ", ("trainer", "'max_stepz'", "'max_steps'")),
        ("name: ", "nam: ", ("'nam'", "'name'")),
    ],
)
def test_an_old_config(before, after, said, tmp_path, capsys):
    config = tmp_path / "old.yaml"
    text = STREETS.read_text()
    config.write_text(text.replace(before, after, 1))
    line = 1 + text[: text.index(before)].count("\n")
    words = told_by(["--config", config], capsys)
    assert all(one in words for one in said), words
    assert f"old.yaml, line {line}" in words


@pytest.mark.parametrize(
    ("flag", "near"), [("--model.lrr", "'lr'"), ("--trainer.max_stepz", "'max_steps'")]
)
def test_a_flag(flag, near, capsys):
    words = told_by([flag, 3], capsys)
    assert repr(flag.rpartition(".")[2]) in words and near in words and "command line" in words


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--model.lr", "fast"], "fast"), (["--trainer.max_steps", "many"], "many")],
)
def test_a_value_of_another_kind(words, said, capsys):
    assert said in told_by(words, capsys)


def test_other_scripts_likewise(capsys):
    parser = Parser()
    parser.add_subclass_arguments(PairData, "data", default={"class_path": "Streets"})
    with pytest.raises(SystemExit):
        parser.parse_args(["--data.batch_sise", "3"])
    said = capsys.readouterr().err
    assert "'batch_size'" in said and len(said.splitlines()) <= 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--key_durations", "1"], "key_durations: '1' is no list: wanted brackets and quotes, as"),
        (["--data", "Streeets"], "--data has no 'Streeets': the nearest is 'Streets'"),
        (["--data", "xyz"], "--data has no 'xyz': wanted one of "),
    ],
)
def test_a_value_that_is_no_list_and_a_data_set_that_is_none(words, said, capsys):
    parser = Parser()
    parser.add_argument("--key_durations", type=list[int])
    parser.add_subclass_arguments(PairData, "data", default={"class_path": "Streets"})
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    assert said in capsys.readouterr().err


def test_a_data_set_that_is_none_in_a_training(capsys):
    assert "the nearest is 'Cityscapes'" in told_by(["--data", "Citscapes"], capsys)


def test_without_a_logger_a_run_stays_in_its_output_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = (
        "--model.flow_weights null --model.feature_channels 16 --data.train_videos 1 "
        "--data.num_workers 0 --data.batch_size 1 --trainer.max_steps 1 --trainer.logger false "
        "--trainer.enable_progress_bar false --output out"
    )
    FitCLI(FOLDER / "demo.yaml", words.split())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/demo/checkpoints/last.ckpt").is_file()
