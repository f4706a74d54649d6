"""What is trained, in which order, what is finished, and what the report says of it."""

import copy

import numpy as np
import pytest
import yaml
from small import SETTINGS as BASE

from dff.lit.reproduction.measures import _every, evaluate_missing, measure_speeds
from dff.lit.reproduction.progress import describe_rest, describe_trainings, seconds_left
from dff.lit.reproduction.report import write_report
from dff.lit.reproduction.runs import Reproduction, read_json
from dff.lit.reproduction.tables import flop_table, mean_spread, order_words, variant_rows
from dff.lit.reproduction.variants import DFF, FRAME, TABLE_4, from_same_start

NAMED = {variant.name: variant for variant in TABLE_4}


@pytest.fixture
def base():
    made = copy.deepcopy(BASE)
    made["trainer"] = {"max_steps": 100, "precision": "32-true"}
    made["data"]["init_args"]["num_workers"] = 2
    return made


@pytest.fixture
def flow_base():
    return {"model": {"init_args": {"flow_network": "flownet"}}, "trainer": {"max_steps": 400}}


@pytest.fixture
def plan(base, flow_base, tmp_path):
    def make(*names, seeds=1, flow_base=flow_base, flow_weights=None, **changes):
        settings = copy.deepcopy(base)
        settings["model"]["init_args"] |= changes
        variants = [NAMED[name] if isinstance(name, str) else name for name in names]
        return Reproduction(tmp_path, settings, flow_base, flow_weights or {}, variants, seeds)

    return make


def pretend(work, training, seconds=None):
    """Trains nothing, and leaves what a training leaves."""
    arguments = work.begin(training)
    folder = work.folder(training) / "version_0" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "last.ckpt").touch()
    if seconds is not None:
        work.finish(training, seconds)
    return arguments


def test_all_that_a_variant_starts_from_is_trained_before_it(plan):
    work = plan("copy", "fix_n", "separate", "dff", seeds=2)
    names = list(work.trainings)
    assert sorted(names) == [
        *("dff_seed_0", "dff_seed_1", "fix_n_seed_0", "fix_n_seed_1"),
        *("flow_flownet_half", "frame_seed_0", "frame_seed_1"),
    ]
    for name, training in work.trainings.items():
        assert all(names.index(need) < names.index(name) for need in training.needs.values())
    assert work.trainings["fix_n_seed_1"].needs == {
        "--model.weights": "frame_seed_1",
        "--model.flow_weights": "flow_flownet_half",
    }
    evaluations = {e.name: (e.training, e.flow) for e in work.evaluations}
    assert evaluations["copy_seed_1"] == ("frame_seed_1", None)
    assert evaluations["separate_seed_0"] == ("frame_seed_0", "flow_flownet_half")
    assert evaluations["dff_seed_1"] == ("dff_seed_1", None)
    assert evaluations["separate_seed_1"] == ("frame_seed_1", "flow_flownet_half")


def test_variants_of_the_same_start_are_trained_for_the_same_steps_from_one_network(plan):
    names = ("frame", "dff", "fix_n", "fix_f", "separate", "copy")
    work = plan(*(from_same_start(NAMED[name]) for name in names), seeds=2)
    for seed in (0, 1):
        for name in ("frame", "dff", "fix_n", "fix_f"):
            training = work.trainings[f"{name}_seed_{seed}"]
            assert training.needs["--model.weights"] == f"start_seed_{seed}"
            assert training.steps == work.trainings[f"start_seed_{seed}"].steps
        assert not work.trainings[f"start_seed_{seed}"].needs
    evaluations = {e.name: (e.training, e.flow) for e in work.evaluations}
    assert evaluations["separate_seed_0"] == ("frame_seed_0", "flow_flownet_half")
    assert evaluations["copy_seed_1"] == ("frame_seed_1", None)
    assert "start_seed_0" not in evaluations


def test_a_flow_network_comes_from_a_file_or_a_config(plan, tmp_path):
    file = tmp_path / "flow.ckpt"
    with pytest.raises(FileNotFoundError, match=r"no flow weights at .*flow\.ckpt"):
        plan("dff", flow_base=None, flow_weights={"flownet_half": file})
    file.write_bytes(b"weights")
    work = plan("dff", flow_base=None, flow_weights={"flownet_half": file})
    assert list(work.trainings) == ["dff_seed_0"]
    pretend(work, "dff_seed_0", 1.0)
    assert work.state("dff_seed_0") == "finished"
    file.write_bytes(b"others")
    assert work.state("dff_seed_0") == "other settings"
    with pytest.raises(ValueError, match=r"starts from a trained flownet_half: .*--flow_config"):
        plan("dff", flow_base=None)


def test_a_training_is_new_then_begun_then_finished(plan):
    work = plan("frame")
    assert work.state("frame_seed_0") == "new"
    arguments = pretend(work, "frame_seed_0")
    assert "--ckpt_path" not in arguments
    config = yaml.safe_load((work.folder("frame_seed_0") / "config.yaml").read_text())
    assert config == work.trainings["frame_seed_0"].settings
    assert work.state("frame_seed_0") == "begun"
    assert pretend(work, "frame_seed_0", seconds=3.0)[-2:] == ["--ckpt_path", "last"]
    assert work.state("frame_seed_0") == "finished"


def test_it_goes_on_only_where_there_is_a_checkpoint(plan):
    work = plan("frame")
    work.begin("frame_seed_0")
    assert "--ckpt_path" not in work.begin("frame_seed_0")


def test_what_starts_from_a_checkpoint_is_told_where_it_is(plan):
    work = plan("fix_n")
    for name in ("frame_seed_0", "flow_flownet_half"):
        pretend(work, name, 1.0)
    flags = dict(word.split("=") for word in work.begin("fix_n_seed_0") if "=" in word)
    assert flags["--model.weights"].endswith("frame_seed_0/version_0/checkpoints/last.ckpt")
    assert flags["--model.flow_weights"].endswith("flownet_half/version_0/checkpoints/last.ckpt")


def test_other_settings_train_again_and_what_was_there_is_kept(plan):
    pretend(plan("frame"), "frame_seed_0", 3.0)
    work = plan("frame", feature_channels=32)
    assert work.state("frame_seed_0") == "other settings"
    assert work.difference("frame_seed_0") == ["model.init_args.feature_channels"]
    assert "feature_channels" in describe_trainings(work)
    pretend(work, "frame_seed_0", 3.0)
    assert work.state("frame_seed_0") == "finished"
    assert (work.output / "trainings" / "frame_seed_0_replaced_1" / "finished.json").exists()


def test_what_is_trained_from_something_else_is_trained_again(plan, flow_base):
    work = plan("dff")
    for name in work.trainings:
        pretend(work, name, 1.0)
    flow_base["trainer"]["max_steps"] = 500
    changed = plan("dff", flow_base=flow_base)
    assert changed.state("flow_flownet_half") == changed.state("dff_seed_0") == "other settings"
    assert changed.difference("dff_seed_0") == ["what it starts from"]


def test_the_machine_makes_no_other_training(plan, base):
    pretend(plan("frame"), "frame_seed_0", 3.0)
    base["trainer"]["precision"] = "bf16-mixed"
    base["data"]["init_args"]["num_workers"] = 0
    assert plan("frame").state("frame_seed_0") == "finished"


def test_what_is_left_is_told_by_what_is_finished(plan):
    work = plan("frame", "dff")
    assert seconds_left(work) == (0.0, 5) and "time unknown" in describe_rest(work)
    pretend(work, "frame_seed_0", 50.0)  # 100 steps
    assert seconds_left(work) == (50.0, 3)  # DFF likewise; the flow network and evaluations unknown
    pretend(work, "flow_flownet_half", 40.0)
    work.write_result(work.evaluations[0], {"seconds": 10.0, "accuracy": {}})
    assert seconds_left(work) == (60.0, 0)
    assert "1 trainings and 1 evaluations, about 1 minutes" in describe_rest(work)
    pretend(work, "dff_seed_0", 50.0)
    work.write_result(work.evaluations[1], {"seconds": 10.0, "accuracy": {}})
    assert "0 trainings and 0 evaluations, about 0 minutes" in describe_rest(work)


def test_a_result_is_of_its_settings(plan):
    work = plan("frame")
    work.write_result(work.evaluations[0], {"seconds": 1.0, "accuracy": {"miou": [float("nan")]}})
    assert work.result(work.evaluations[0])["accuracy"] == {"miou": [None]}
    other = plan("frame", feature_channels=32)
    assert other.result(other.evaluations[0]) is None
    (work.output / "evaluations" / "frame_seed_0.json").write_text('{"half')
    assert work.result(work.evaluations[0]) is None
    assert read_json(work.output / "absent.json") is None


# ------------------------------------------------------------------- the report


def rows_of(variant, *values, pairs=4, **more):
    """One seed for each value, at key duration 5."""
    return [
        {
            **{"variant": variant, "seed": seed, "key_duration": 5, "miou_mean": value},
            **{"pairs": pairs, "all_pairs": 4, **more},
        }
        for seed, value in enumerate(values)
    ]


def test_orders_against_the_spread_by_hand():
    rows = [
        *rows_of("dff", 0.70, 0.72),  # mean 0.71, deviation 0.01414
        *rows_of("fix_n", 0.68, 0.70),  # the same deviation: pooled 1.41 points
        *rows_of("separate", 0.75),
        *rows_of("copy", 0.60),
    ]
    words = order_words(rows, TABLE_4, "miou", 5)
    # 1.414 * sqrt(2 / 2), and on the one seed that both have sqrt(2 / 1): 0.68 against 0.75
    assert "- DFF above DFF fix N: holds, +2.00 (beyond the spread of 1.41)." in words
    assert "- DFF fix N above DFF separate: DIFFERS, -7.00 (beyond the spread of 2.00)." in words
    assert "- DFF fix N above copy: holds, +8.00 (beyond the spread of 2.00)." in words
    assert not any("fix F" in line or "SFF" in line for line in words)
    one = order_words(rows_of("dff", 0.7) + rows_of("fix_n", 0.7), TABLE_4, "miou", 5)
    assert one == ["- DFF above DFF fix N: DIFFERS, +0.00 (the spread is not known: one seed)."]


def test_a_flow_on_part_of_the_frames_is_compared_on_these():
    part = rows_of("sff_slow", 0.5, pairs=2, dff_miou_mean=0.45, copy_miou_mean=0.52)
    words = order_words(rows_of("dff", 0.7) + rows_of("copy", 0.4) + part, TABLE_4, "miou", 5)
    (against_dff,) = [line for line in words if line.startswith("- DFF above SFF-slow")]
    assert "on 2 of 4 pairs" in against_dff and "DIFFERS, -5.00" in against_dff
    (against_copy,) = [line for line in words if line.startswith("- SFF-slow")]
    assert "DIFFERS, -2.00" in against_copy


@pytest.mark.parametrize("variant", [FRAME, from_same_start(FRAME)])
def test_the_per_frame_network_has_no_key_frames(variant):
    found = {"accuracy": {"miou": {"full": [0.8]}}, "pairs": 3, "all_pairs": 3}
    timing = {"ms_key": 10.0, "ms_current": None, "speedup": 1.0, "speedup_eq7": 1.0}
    speed = {"rows": [{"key_duration": d, "fps": 100.0 * d, **timing} for d in (1, 5)]}
    rows = variant_rows(variant, 0, found, speed, [1, 5])
    assert [(r["miou_mean"], r["fps"]) for r in rows] == [(0.8, 100.0), (0.8, 100.0)]
    assert [r["fps"] for r in variant_rows(DFF, 0, found, speed, [1, 5])] == [100.0, 500.0]
    assert mean_spread(rows, "frame", 5, "miou_mean") == (0.8, None, 1)


def test_table_2_has_the_papers_figures_beside_ours():
    lines = flop_table(BASE, (64, 128)).splitlines()
    assert lines[2] == "| ResNet-50 | FlowNet | 600x1000 | 9.20 | 9.20 |"
    assert len(lines) == 2 + 6 + 1 and "64x128, 16 channels" in lines[-1]


def test_a_report_names_what_failed_and_has_no_empty_table(tmp_path):
    rows = rows_of("dff", 0.7, 0.72, miou_worst=0.6, fps=20.0, speedup=2.0, speedup_eq7=3.0)
    report = write_report(
        tmp_path, "Tables", ["a fact"], {"4": [DFF]}, rows, (5, 10), None, ["fix_n broke"]
    )
    text = report.read_text()
    assert "- fix_n broke" in text and "Table 5" not in text and "Table 2" not in text
    assert (
        "| DFF | 71.0 ± 1.4 | 60.0 ± 0.0 | - | - | - | - | 20.00 | 2.00 | 3.00 | 69.2, 5.60 |"
        in text
    )
    assert (tmp_path / "accuracy_speed.png").stat().st_size > 5000
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3
    alone = write_report(tmp_path / "2", "Tables", [], {}, [], (5, 10), "| table 2 |", [])
    assert "| table 2 |" in alone.read_text() and "Table 4" not in alone.read_text()


def test_a_thinned_evaluation_takes_frames_with_all_their_gaps():
    # the first frame of the one snippet has gap 0 alone, the others 0 and 1
    entries = np.array([[0, frame, gap] for frame in range(5) for gap in (0, 1) if gap <= frame])
    assert entries[_every(entries, 2)].tolist() == [[0, f, g] for f in (1, 3) for g in (0, 1)]
    assert entries[_every(entries, 50)].tolist() == [[0, 2, 0], [0, 2, 1]]


@pytest.fixture
def evaluations(monkeypatch):
    """Evaluations without networks: the names of what is evaluated, and on one in how many frames.

    The accuracy is what the training's checkpoint holds.
    """
    done = []

    def evaluate(variant, module, data, gaps, every):
        done.append((variant.name, every))
        accuracy = {"miou": {"full": [module]}}
        return {"accuracy": accuracy, "pairs": 12 // every, "all_pairs": 12, "seconds": 1.0}

    where = "dff.lit.reproduction.measures"
    monkeypatch.setattr(f"{where}.evaluate_variant", evaluate)
    monkeypatch.setattr(
        f"{where}.model_of", lambda work, evaluation: work.last(evaluation.training).read_text()
    )
    return done


def result_of(work, name):
    (evaluation,) = [e for e in work.evaluations if e.variant.name == name]
    return work.result(evaluation)


def test_a_thinned_flow_compares_with_the_dff_that_there_is(plan, evaluations, tmp_path):
    files = [tmp_path / "one.ckpt", tmp_path / "two.ckpt"]
    for file in files:
        file.write_text(file.name)
    every = {"sff_fast": 4}
    work = plan("frame", "sff_fast", "dff", flow_weights={"flownet_half": files[0]})
    pretend(work, "frame_seed_0", 1.0)
    assert evaluate_missing(work, None, every) == []
    assert evaluations == [("frame", 1), ("sff_fast", 4)]  # there is no DFF yet

    pretend(work, "dff_seed_0", 1.0)
    work.last("dff_seed_0").write_text("first")
    evaluate_missing(work, None, every)
    assert evaluations[2:] == [("dff", 4), ("dff", 1)]
    assert result_of(work, "sff_fast")["dff_accuracy"]["miou"]["full"] == ["first"]

    work = plan("frame", "sff_fast", "dff", flow_weights={"flownet_half": files[1]})
    pretend(work, "dff_seed_0", 1.0)
    work.last("dff_seed_0").write_text("second")
    del evaluations[:]
    evaluate_missing(work, None, {"sff_fast": 3})  # measured again: no other task
    assert evaluations == [("dff", 4), ("dff", 1)]
    assert result_of(work, "sff_fast")["dff_accuracy"]["miou"]["full"] == ["second"]

    del evaluations[:]
    evaluate_missing(work, None, {"sff_fast": 2})  # more time was given
    assert evaluations == [("sff_fast", 2), ("dff", 2)]
    del evaluations[:]
    evaluate_missing(work, None, {"sff_fast": 2})
    assert evaluations == []


def test_what_fails_in_evaluation_or_speed_stops_nothing_else(plan, evaluations, capsys):
    work = plan("frame", "copy")
    pretend(work, "frame_seed_0", 1.0)
    last = work.last("frame_seed_0")
    evaluate_missing(work, None, {})
    speeds, failed = measure_speeds(work, [])
    assert speeds == {} and len(failed) == 2
    assert failed[0].startswith("speed of frame: AttributeError: ")  # a text is no network
    assert read_json(work.output / "speed.json") is None

    (work.output / "evaluations" / "copy_seed_0.json").unlink()
    last.unlink()
    (line,) = evaluate_missing(work, None, {})
    assert line.startswith("evaluation of copy_seed_0: ") and "no last.ckpt" in line
    assert capsys.readouterr().err.count("failed: ") == 3
