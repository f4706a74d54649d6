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
from dff.exit import run_script


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


def test_an_extra_that_is_not_installed_is_told_in_a_line(capsys):
    def needs():
        raise ImportError("ONNX needs onnx, which is not installed: pip install 'dff[onnx]'")

    def broken():
        raise ModuleNotFoundError("No module named 'x'", name="x")

    with pytest.raises(SystemExit):
        run_script(needs)
    assert capsys.readouterr().err.startswith("error: ONNX needs onnx, which is not installed: ")
    with pytest.raises(ModuleNotFoundError):  # a fault of the code, with its traceback
        run_script(broken)


def test_a_demo_says_how_far_it_is_and_shows_the_log_where_a_stage_fails(tmp_path, capfd):
    from dff.commands.demos.stages import Stage, Stages, steps_done

    good = Stage("counting", 1.0, ["-c", "print('counted')"])
    bad = Stage("failing", 3.0, ["-c", "import sys; print('why'); sys.exit(7)"])
    with pytest.raises(SystemExit) as stop:
        Stages([good, bad], tmp_path / "demo.log").run()
    assert stop.value.code == 7
    said = capfd.readouterr()
    assert "0% of the demo after 0.0 minutes; stage 1 of 2: counting" in said.out
    assert "25% of the demo" in said.out and "minutes left; stage 2 of 2: failing" in said.out
    assert "why" in said.err and f"all that was said is in {tmp_path / 'demo.log'}" in said.err
    assert "counted" in (tmp_path / "demo.log").read_text()
    share = steps_done(tmp_path / "run", 200)
    assert share() == 0
    (tmp_path / "run" / "version_0").mkdir(parents=True)
    (tmp_path / "run" / "version_0" / "metrics.csv").write_text("step,loss\n49,1.0\n99,0.5\n")
    assert share() == pytest.approx(99 / 200)


def test_the_stages_of_a_demo_are_verbs(tmp_path):
    from dff.commands.demos.demo import DEMOS, stages

    for demo in DEMOS.values():
        drawing, *others = stages(demo, tmp_path, demo.streets, (3, 4))
        assert drawing.words[0] == "-c"
        assert [stage.words[:3] for stage in others] == [
            ["-m", "dff", "fit"], ["-m", "dff", "fit"], ["-m", "dff", "evaluate"],
        ]  # fmt: skip
        assert sum(stage.share for stage in (drawing, *others)) == pytest.approx(1)


def test_the_demo_of_the_flow_starts_verbs_and_no_scripts(monkeypatch, capsys):
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
