"""The command dff: its verbs, and how they start each other."""

import re
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import pytest
from small import ROOT

import dff
from dff.__main__ import VERBS, main


def ended(words, capsys):
    """Exit code, and what was said on both streams."""
    code = 0
    try:
        main(words)
    except SystemExit as stop:
        code = stop.code or 0
    heard = capsys.readouterr()
    return code, heard.out, heard.err


def test_help_lists_each_verb_with_its_purpose(capsys):
    code, said, _ = ended(["--help"], capsys)
    assert code == 0
    for verb, (_, purpose) in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(purpose)}$", said, re.M)
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_says_its_own_name(verb, capsys):
    code, said, _ = ended([verb, "--help"], capsys)
    assert code == 0
    assert re.match(rf"usage: dff (\[options\] )?{verb}\s", said)


def test_the_version_is_that_of_the_package(capsys):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ended(["--version"], capsys) == (0, f"dff {version}\n", "")
    assert dff.__version__ == version


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predcit", "a.mp4"], "error: dff has no verb 'predcit': the nearest is 'predict'\n"),
        (
            ["measure_flow"],
            "error: dff has no verb 'measure_flow': the nearest is 'measure-flow'\n",
        ),
        (["xyz"], "error: dff has no verb 'xyz': dff --help lists them\n"),
    ],
)
def test_a_verb_that_is_none_is_told_with_the_nearest(words, said, capsys):
    assert ended(words, capsys) == (2, "", said)


def test_a_verb_is_wanted(capsys):
    code, out, said = ended([], capsys)
    assert code == 2 and not out and said.endswith("error: dff wants a verb, such as dff fit\n")


def test_each_script_is_one_of_the_verbs(monkeypatch, capsys):
    called = []
    monkeypatch.setattr("dff.__main__.main", called.append)
    scripts = sorted((ROOT / "scripts").glob("*.py"))
    for script in scripts:
        monkeypatch.setattr(sys, "argv", [str(script), "--word"])
        exec(compile(script.read_text(), script, "exec"), {"__name__": "__main__"})
    assert {tuple(words) for words in called} == {(verb, "--word") for verb in VERBS}
    assert len(scripts) == len(VERBS)


def test_an_attribute_that_the_package_has_not():
    with pytest.raises(AttributeError, match="module 'dff' has no attribute 'laod'"):
        _ = dff.laod


def test_a_demo_starts_verbs_and_no_scripts(monkeypatch, capsys):
    from dff.commands.demos import demo

    started = []

    def run(words):
        started.append(words)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit) as stop:
        demo.run("predict", "model.ckpt", "a.mp4")
    assert stop.value.code == 3
    assert started == [[sys.executable, "-m", "dff", "predict", "model.ckpt", "a.mp4"]]
    assert "$ dff predict model.ckpt a.mp4" in capsys.readouterr().out
