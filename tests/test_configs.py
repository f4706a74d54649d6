"""Configs are found by name, in a checkout as beside an installed package."""

import pytest

from dff.configs import FOLDER, find, names
from dff.lit.arguments import with_config_files
from dff.lit.cli import FitCLI


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("word", ["demo", "demo.yaml", "configs/demo.yaml", "no/such/demo.yaml"])
def test_a_name_is_that_of_ours(word, elsewhere):
    assert find(word) == FOLDER / "demo.yaml"


@pytest.mark.parametrize("word", ["demo", "demo.yaml", "configs/demo.yaml"])
def test_a_file_of_that_path_wins(word, elsewhere):
    own = elsewhere / word
    own.parent.mkdir(exist_ok=True)
    own.write_text("name: mine\n")
    assert find(word).resolve() == own


def test_a_folder_of_that_name_is_no_config(elsewhere):
    (elsewhere / "demo").mkdir()
    assert find("demo") == FOLDER / "demo.yaml"


def test_an_unknown_name_is_told_with_the_nearest_and_the_place(elsewhere):
    with pytest.raises(FileNotFoundError) as told:
        find("citiscapes_r101")
    said = str(told.value)
    assert said.startswith("no config citiscapes_r101: ") and str(FOLDER) in said
    assert said.endswith("the nearest name is 'cityscapes_r101'")
    with pytest.raises(FileNotFoundError, match=", ".join(names())):
        find("x")


DEMO, VID = f"{FOLDER}/demo.yaml", f"{FOLDER}/vid_r50.yaml"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--config", "demo"], ["--config", DEMO]),
        (["-c", "demo", "--config=vid_r50"], ["-c", DEMO, f"--config={VID}"]),
        (["--config", "s3://bucket/demo.yaml"], ["--config", "s3://bucket/demo.yaml"]),
        (["--config", "{name: x}"], ["--config", "{name: x}"]),
        (["--name", "demo", "--config"], ["--name", "demo", "--config"]),
    ],
)
def test_the_configs_of_a_command_line(given, expected, elsewhere):
    assert with_config_files(given) == expected


def test_a_path_that_is_not_here_is_said_and_a_name_is_not(elsewhere, capsys):
    with_config_files(["--config", "demo", "--config", "demo.yaml"])
    assert capsys.readouterr().err == ""
    with_config_files(["--config", "configs/demo.yaml"])
    assert capsys.readouterr().err == f"configs/demo.yaml is not here: {DEMO} is taken\n"


def test_fit_takes_a_name_from_anywhere(elsewhere, capsys):
    with pytest.raises(SystemExit) as stop:
        FitCLI("streets", ["--config", "cityscapes_r101", "--data.root=/x", "--print_config"])
    assert stop.value.code == 0 and "name: cityscapes_r101" in capsys.readouterr().out
