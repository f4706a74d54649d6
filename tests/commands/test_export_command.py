"""dff export, and dff predict on what it wrote."""

import json

import pytest
from clips import write_moving_picture
from exports import write_checkpoint

from dff.commands import export, predict
from dff.data.files.images import read_labels

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason="the extra dff[onnx] is not installed")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model") / "model.ckpt")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_moving_picture(tmp_path_factory.mktemp("videos") / "mine.mp4", 5)


def test_a_video_is_predicted_from_an_export_as_from_its_checkpoint(
    checkpoint, video, tmp_path, capsys
):
    words = ["--size", "96", "128", "--warp", "gather", "--output", str(tmp_path / "exported")]
    export.main([str(checkpoint), *words])
    said = capsys.readouterr().out
    for line in ("exporting current", "key: features", "current: labels", "engine: segmentation"):
        assert line in said
    assert "current.onnx: " in said and "MB" in said
    files = {}
    for runtime, model in (("torch", checkpoint), ("onnx", tmp_path / "exported")):
        out = tmp_path / runtime
        words = ["--runtime", runtime, "--output", str(out), "--key_duration", "3"]
        assert predict.main([str(model), str(video), *words]) == 0
        files[runtime] = [read_labels(file) for file in sorted((out / "mine").glob("*.png"))]
        settings = json.loads((out / "mine.json").read_text())["settings"]
        assert settings.get("runtime", "torch") == runtime
    same = [(a == b).mean() for a, b in zip(files["torch"], files["onnx"], strict=True)]
    assert len(same) == 5 and min(same) > 0.999 and len(set(files["onnx"][4].flat)) > 1
    words = ["--runtime", "onnx", "--output", str(tmp_path / "onnx"), "--key_duration", "3"]
    assert predict.main([str(tmp_path / "exported"), str(video), *words]) == 0
    assert "1 of 1 videos are finished already" in capsys.readouterr().out
    # frames of another size are that video's failure
    words = ["--short_side", "64", "--runtime", "onnx", "--output", str(tmp_path / "other")]
    assert predict.main([str(tmp_path / "exported"), str(video), *words]) == 1
    assert "takes 96 x 128: export with --size 64 " in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"the schedule looks at the difference.*--steps"):
        words = ["--runtime", "onnx", "--schedule", "change", "--output", str(tmp_path / "other")]
        predict.main([str(tmp_path / "exported"), str(video), *words])
    with pytest.raises(ValueError, match="an export has its own flow; give them to dff export"):
        words = ["--runtime", "onnx", "--flow_from", "warm", "--output", str(tmp_path / "other")]
        predict.main([str(tmp_path / "exported"), str(video), *words])


def test_a_checkpoint_is_exported_first(checkpoint, video, tmp_path, capsys):
    words = ["--runtime", "onnx", "--output", str(tmp_path), "--schedule", "change"]
    assert predict.main([str(checkpoint), str(video), *words]) == 0
    said = capsys.readouterr().out
    assert "for onnx; dff export would keep it" in said and "propagate: carried" in said
    assert len(list((tmp_path / "mine").glob("*.png"))) == 5


def test_a_missing_video_is_told_before_the_export(checkpoint, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4"):
        predict.main([str(checkpoint), str(tmp_path / "gone.mp4"), "--runtime", "onnx"])
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4"):
        export.main([str(checkpoint), "--video", str(tmp_path / "gone.mp4")])
    assert "exporting" not in capsys.readouterr().out


def test_an_export_is_compared_on_the_users_own_frames(checkpoint, video, tmp_path, capsys):
    out = tmp_path / "exported"
    words = ["--size", "64", "96", "--video", str(video), "--output", str(out)]
    export.main([str(checkpoint), *words])
    said = capsys.readouterr().out
    assert "drawn streets" not in said
    for what in ("key: features", "current: labels", "engine: segmentation"):
        lines = [line for line in said.splitlines() if line.startswith(what)]
        assert all(
            name in line for name, line in zip(("random frames", "mine.mp4"), lines, strict=True)
        )
    short = write_moving_picture(tmp_path / "short.mp4", 4)
    with pytest.raises(
        ValueError, match=r"--video .*short\.mp4: it has 4 frames, wanted at least 5"
    ):
        export.main([str(checkpoint), "--video", str(short), "--output", str(out)])


def test_what_another_runtime_cannot_do_is_told(capsys):
    for words in (["--precision", "bf16-mixed"], ["--compile"], ["--devices", "2"]):
        with pytest.raises(SystemExit):
            predict.main(["model.ckpt", "a.mp4", "--runtime", "onnx", *words])
        assert f"{words[0]} with --runtime onnx: it runs a" in capsys.readouterr().err


def test_models_whose_flow_comes_by_way_of_the_frame_before_have_steps(checkpoint, video, tmp_path):
    out = tmp_path / "out"
    words = ["--flow_from", "warm", "--size", "96", "128", "--output", str(out)]
    export.main([str(checkpoint), *words])
    assert (out / "propagate.onnx").exists()
    words = ["--runtime", "onnx", "--output", str(tmp_path / "predicted")]
    assert predict.main([str(out), str(video), *words]) == 0
