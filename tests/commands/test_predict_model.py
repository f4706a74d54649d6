"""dff predict --model: somebody's own model on videos, without a checkpoint."""

import json

import pytest
import torch
from clips import write_moving_picture

from dff.commands.predict import main
from dff.data.files.images import read_labels
from dff.data.video.sources import open_video
from dff.models.per_frame.named import per_frame_model

SEGMENTS = "torchvision:lraspp_mobilenet_v3_large"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_moving_picture(tmp_path_factory.mktemp("videos") / "mine.mp4", 5)


def test_key_duration_1_gives_the_models_own_labels(video, tmp_path, capsys):
    words = ["--model", SEGMENTS, "--random_weights", str(video), "--output", str(tmp_path)]
    assert main([*words, "--key_duration", "1"]) == 0
    own = per_frame_model(SEGMENTS, random=True).eval()
    files = sorted((tmp_path / "mine").glob("*.png"))
    for file, frame in zip(files, open_video(video), strict=True):
        image = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            labels = own.decode(own.encode(image), (96, 128), (96, 128))
        assert (read_labels(file) == labels[0].numpy()).mean() > 0.999
    assert len(list(open_video(tmp_path / "mine.mp4"))) == len(files) == 5
    settings = json.loads((tmp_path / "mine.json").read_text())["settings"]
    assert settings["model"] == SEGMENTS and settings["weights"] == "random"
    assert settings["flow_network"] == "dis_fast"
    capsys.readouterr()
    assert main([*words, "--key_duration", "1"]) == 0
    assert "1 of 1 videos are finished already" in capsys.readouterr().out
    assert main([*words, "--key_duration", "5"]) == 0  # other settings: predicted again
    assert "1 videos predicted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.ckpt"], "the following arguments are required: inputs"),
        (["a.ckpt", "v.mp4", "--random_weights"], "go with --model; a checkpoint has its own"),
        (["v.mp4", "--model", SEGMENTS, "--compile"], "--compile with --model"),
        (["v.mp4", "--model", SEGMENTS, "--devices", "2"], "--devices with --model"),
        (["v.mp4", "--model", SEGMENTS, "--precision", "bf16-mixed"], "--precision with --model"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_faults_of_the_model_are_told_before_the_videos(video, tmp_path):
    words = [str(video), "--output", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="accelerator tpu with --model: wanted auto, cpu or gpu"):
        main([*words, "--model", SEGMENTS, "--random_weights", "--accelerator", "tpu"])
    with pytest.raises(ValueError, match="lraspp_mobilenet_v3_large"):
        main([*words, "--model", "torchvision:lraspp_mobilenet_v3_larg", "--random_weights"])
    with pytest.raises(FileNotFoundError):
        main([*words, "--model", SEGMENTS, "--weights", str(tmp_path / "nowhere.pth")])
    assert not (tmp_path / "out").exists()
