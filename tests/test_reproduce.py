"""dff reproduce: from nothing to a report, again, and with a training that fails."""

import importlib.util
import json
import sys

import pytest
from small import SMALL

from dff.commands.reproduce import parse
from dff.inference.results.claims import claim, release
from dff.lit.cli import FitCLI
from dff.lit.reproduction.choice import by_name, choose, weights_by_network
from dff.lit.reproduction.variants import TABLES


@pytest.fixture
def reproduce(monkeypatch):
    """The module of the work; its trainings run in this process, which takes seconds each."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("dff.lit.reproduction.measures.SLOW", 0.0)  # speed is measured once
    spec = importlib.util.find_spec("dff.lit.reproduction.reproduce")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.trained, script.broken = [], set()

    def fit(words, log):
        name = words[words.index("--name") + 1]
        if name in script.broken:
            log.write_text("a lot\nerror: it broke\nwandb: synced\n")
            return 1
        script.trained.append(name)
        FitCLI("streets", words)
        return 0

    script.real_fit = script.fit
    monkeypatch.setattr(script, "fit", fit)

    def call(*words):
        return script.reproduce(*parse([*map(str, words)]))

    script.call = call
    return script


def small(root, output):
    """Flags of a reproduction on small streets, of both trainings."""
    data = [f"--data.{name}={value}" for name, value in SMALL.items()]
    data += [f"--data.root={root}", "--data.num_workers=0", "--data.batch_size=2"]
    data += ["--data.val_every=6", "--trainer.max_steps=1", "--trainer.accelerator=cpu"]
    data += ["--trainer.precision=32-true"]
    flow = [word.replace("--", "--flow.", 1) for word in data]
    return [
        *("--config", "reproduce_demo", "--output", output),
        *("--flow_config", "demo_flow", "--model.feature_channels=16"),
        *(*data, *flow, "--flow.trainer.val_check_interval=1"),
    ]


SKIPPED = ["sff_slow", "sff_fast", "fix_f", "no_scale", "clockwork_2", "separate"]


def test_from_nothing_to_a_report_and_only_what_is_missing_again(
    reproduce, streets_root, tmp_path, capsys
):
    words = [*small(streets_root, tmp_path), "--table", "4", "--seeds", "1", "--skip", *SKIPPED]
    reproduce.broken = {"fix_n_seed_0"}
    assert reproduce.call(*words) == 1
    trained = ["start_seed_0", "frame_seed_0", "flow_flownet_half", "dff_seed_0"]
    assert reproduce.trained == trained
    said = capsys.readouterr()
    assert "dff_seed_0: to train, 1 steps" in said.out and "left: 5 trainings" in said.out
    assert "failed: fix_n_seed_0 (exit code 1): error: it broke" in said.err
    text = (tmp_path / "report.md").read_text()
    assert "error: it broke" in text and "\n| DFF | " in text and "\n| DFF fix N | - |" in text

    reproduce.broken, reproduce.trained = set(), []
    assert reproduce.call(*words) == 0
    assert reproduce.trained == ["fix_n_seed_0"]
    said = capsys.readouterr()
    assert "frame_seed_0: finished" in said.out and "evaluating fix_n_seed_0" in said.out
    assert "evaluating dff_seed_0" not in said.out
    text = (tmp_path / "report.md").read_text()
    for row in ("Frame", "SFF, DIS flow", "DFF", "DFF fix N", "copy", "clockwork, layer4 held"):
        (first, *_) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
        assert first.split("|")[2].strip() != "-", row
    found = json.loads((tmp_path / "evaluations" / "frame_seed_0.json").read_text())
    assert len(found["accuracy"]["miou"]["full"]) == 1  # per frame: at gap 0 alone
    assert "69.2, 5.60" in text and "DFF above copy" in text and "broke" not in text
    assert (tmp_path / "accuracy_speed.png").exists()
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + 6 * 10

    reproduce.trained = []
    assert "over whole videos" not in text
    assert reproduce.call(*words, "--schedule", "change") == 0
    said = capsys.readouterr().out
    assert reproduce.trained == [] and "evaluating" not in said
    assert "running dff_seed_0 over whole videos: change, 5" in said
    text = (tmp_path / "report.md").read_text()
    whole = text.partition("### DFF by schedule, over whole videos")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in whole.splitlines() if line.startswith("| DFF")]
    assert [row[1].strip() for row in rows] == [
        *("DFF, fixed, l = 5", "DFF, change, l = 5 asked for"),
        *("DFF, fixed, l = 10", "DFF, change, l = 10 asked for"),
    ]
    assert all(row[2].strip().isdigit() and float(row[7]) > 0 for row in rows)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + 6 * 10 + 4
    assert reproduce.call(*words, "--schedule", "change") == 0
    assert "running" not in capsys.readouterr().out
    assert (tmp_path / "report.md").read_text() == text


@pytest.mark.parametrize(
    ("stops", "calls"),
    [
        ([KeyboardInterrupt], ["wait", "wait"]),
        ([SystemExit], ["wait", "terminate", "wait"]),
        ([KeyboardInterrupt, SystemExit], ["wait", "wait", "terminate", "wait"]),
    ],
)
def test_a_training_is_never_left_alone(reproduce, stops, calls, monkeypatch, tmp_path):
    """Ctrl-C reaches it by itself, and it is given the time to save; SIGTERM is handed on."""
    last = stops[-1]
    done = []

    class Process:
        def __init__(self, words, **kwargs):
            assert words == [sys.executable, "-m", "dff", "fit", "--name", "x"]

        def wait(self):
            done.append("wait")
            if stops:
                raise stops.pop(0)
            return 1

        def terminate(self):
            done.append("terminate")

    monkeypatch.setattr(reproduce.subprocess, "Popen", Process)
    with pytest.raises(last):
        reproduce.real_fit(["--name", "x"], tmp_path / "fit.log")
    assert done == calls


def test_a_log_without_an_error_tells_its_last_line(reproduce, tmp_path):
    log = tmp_path / "fit.log"
    for text, said in (
        ("one\ntwo\n", "two"),
        ("", "it said nothing"),
        ("x.OSError: full\n", "full"),
    ):
        log.write_text(text)
        assert said in reproduce.last_words(log)


def test_the_plan_trains_nothing(reproduce, streets_root, tmp_path, capsys):
    words = [*small(streets_root, tmp_path), "--table", "5", "--seeds", "2", "--plan"]
    assert reproduce.call(*words) == 0
    said = capsys.readouterr().out
    assert reproduce.trained == [] and not (tmp_path / "report.md").exists()
    assert said.count("to train") == 7 and "split_21_seed_0" in said and "seed_1" not in said


def test_the_plan_of_table_2_writes_nothing(reproduce, streets_root, tmp_path):
    assert reproduce.call(*small(streets_root, tmp_path), "--table", "2", "--plan") == 0
    assert not (tmp_path / "report.md").exists()


def test_each_training_has_the_precision_of_its_own_config(
    reproduce, streets_root, tmp_path, monkeypatch
):
    """Flow in the one that was asked for, DFF in the faster one."""
    monkeypatch.setattr(reproduce, "fast_precision", lambda: "the faster")
    given = {}

    def fit(words, log):
        given[words[words.index("--name") + 1]] = "the faster" in words
        log.write_text("error: not now")
        return 1

    monkeypatch.setattr(reproduce, "fit", fit)
    words = [w for w in small(streets_root, tmp_path) if w != "--trainer.precision=32-true"]
    words += ["--table", "4", "--seeds", "1", "--skip", *SKIPPED, "sff_dis"]
    reproduce.call(*words)
    assert given == {"start_seed_0": True, "flow_flownet_half": False}


@pytest.mark.parametrize("start", ["trained", "random"])
def test_all_variants_with_the_same_features_have_the_same_start(reproduce, start):
    base = reproduce.read_settings("reproduce_demo", [], "LitDFF")
    pairs = ["resnet18+flownet", "resnet34+flownet"]
    sections = choose(TABLES, base, pairs, same_start=start == "trained")
    for variant in (v for chosen in sections.values() for v in chosen):
        while not variant.trained:
            variant = variant.network_from
        other = variant.model.get("feature_network", "resnet18") != "resnet18"
        before = variant.network_from and variant.network_from.name
        expected = None if other else "start"
        if start == "random":
            expected = "frame" if variant.name == "fix_n" else None
        assert before == expected, variant.name


def test_tables_share_a_variant_under_its_first_title(reproduce):
    config = "reproduce_demo"
    sections = choose(TABLES, reproduce.read_settings(config, [], "LitDFF"))
    assert {v.title for v in sections["fig3"] if v.name == "dff"} == {"ResNet-18, FlowNet Half"}
    assert by_name(sections)["dff"].title == "DFF"


def test_a_checkpoint_with_its_step_in_the_name_is_a_file(tmp_path):
    base = {"model": {"init_args": {"flow_network": "flownet_half", "flow_weights": None}}}
    file = tmp_path / "step=100.ckpt"
    found = weights_by_network([str(file), f"flownet={file}"], base)
    assert found == dict.fromkeys(["flownet_half", "flownet"], file)


def test_weights_that_come_with_the_package_are_files_too():
    base = {"model": {"init_args": {"flow_network": "light", "flow_weights": "dff:light"}}}
    (file,) = weights_by_network([], base).values()
    assert file.is_file() and weights_by_network(["dff:light"], base) == {"light": file}


def test_all_tables_have_their_trainings(reproduce, streets_root, tmp_path, capsys):
    words = [*small(streets_root, tmp_path), "--minutes", "0.00001", "--plan"]
    assert reproduce.call(*words, "--skip", "sff_slow", "sff_fast") == 0
    said = capsys.readouterr().out
    for name in ("fix_n_seed_2", "split_0_seed_0", "flownet_random_seed_0", "flow_flownet:"):
        assert name in said
    assert "SFF, DIS flow: 0.0" in said and "labelled frames is evaluated" in said


def test_table_2_needs_no_training(reproduce, streets_root, tmp_path):
    assert reproduce.call(*small(streets_root, tmp_path), "--table", "2") == 0
    text = (tmp_path / "report.md").read_text()
    assert "| ResNet-101 | FlowNet | 600x1000 | 12.72 | 12.71 |" in text and "64x128" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--table", "3"], "invalid choice: '3'"),
        (["--skip", "all"], "invalid choice: 'all'"),
        (["--model.lerning_rate", "1"], "lerning_rate"),
    ],
)
def test_a_wrong_word_ends_before_anything_begins(reproduce, words, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        reproduce.call(*small("absent", tmp_path), *words)
    assert stop.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0"], "--seeds 0: wanted at least 1"),
        (["--key_duration", "11"], "--key_duration 11: wanted 1 to 10"),
        (["--pairs", "resnet18"], r"--pairs resnet18: wanted such as resnet50\+flownet_half"),
        (["--flow_weights", "pwc=x.pth"], "pwc is none of flownet, flownet_half"),
        (["--model.task_layers", "5"], "Table 5 varies it, from 1"),
        (["--model.flow_network", "dis_fast"], "dis_fast of the config learns nothing"),
        (["--config", "demo_flow"], "demo_flow trains .*wanted LitDFF"),
        (["--table", "4", "--flow_weights", "no.ckpt"], "no flow weights at no.ckpt"),
        (["--table", "4", "--schedule", "no.pth"], "no learned schedule at no.pth"),
        (["--table", "5", "--schedule", "change"], "dff of Table 4 is left out"),
        (["--schedule", "fixed"], "all of Table 4 has it"),
    ],
)
def test_a_mistake_is_told_with_its_cure(reproduce, words, said, streets_root, tmp_path):
    flags = small(streets_root, tmp_path)
    if "--config" in words:
        flags = ["--flow_config", "demo_flow", "--output", tmp_path]
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        reproduce.call(*flags, *words)


def test_two_reproductions_do_not_meet_in_one_folder(reproduce, streets_root, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    taken = claim(output, "reproduction")
    words = ["--table", "4", *small(streets_root, output)]
    with pytest.raises(ValueError, match="another process is writing results called reproduction"):
        reproduce.call(*words)
    release(taken)
    assert reproduce.trained == []
