"""What cannot be written is named, and leaves what was there before."""

import errno
import os
import resource
from contextlib import contextmanager

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from dff.data.files.whole_files import in_words, whole_file, write_whole
from dff.exit import run_script
from dff.lit.checkpoint_writer import WholeCheckpoints
from dff.lit.loggers.metrics_file import MetricsFile


@contextmanager
def no_file_larger_than(size):
    """As a full disk; Python has the signal ignored."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_does_not_fit_leaves_the_older_one(tmp_path):
    file, writer = tmp_path / "checkpoints" / "last.ckpt", WholeCheckpoints()
    writer.save_checkpoint({"step": 1}, file)
    with no_file_larger_than(100_000), pytest.raises(OSError) as told:
        writer.save_checkpoint({"step": 2, "weights": torch.rand(100_000)}, file)
    assert told.value.filename == str(file) and told.value.errno == errno.EFBIG
    assert torch.load(file, weights_only=True) == {"step": 1}
    assert os.listdir(file.parent) == ["last.ckpt"]
    writer.save_checkpoint({"step": 3, "weights": torch.rand(100_000)}, file)
    assert torch.load(file, weights_only=True)["step"] == 3


def test_metrics_keep_their_rows(tmp_path):
    log = MetricsFile(tmp_path, name="run")
    log.log_metrics({"loss": 1.0}, 0)
    log.save()
    file = tmp_path / "run" / "version_0" / "metrics.csv"
    before = file.read_text()
    log.log_metrics({f"a_new_name_{i}": 2.0 for i in range(50)}, 1)
    with no_file_larger_than(len(before) + 5):
        with pytest.raises(OSError, match=r"metrics\.csv"):
            log.save()
        log.finalize("failed")  # a second failure hides no first one
    assert file.read_text() == before
    assert os.listdir(file.parent) == ["metrics.csv"]
    log.save()
    assert len(file.read_text().splitlines()) == 3


def test_metrics_are_those_of_lightnings_own_file(tmp_path):
    for kind, name in ((CSVLogger, "theirs"), (MetricsFile, "ours")):
        log = kind(tmp_path, name=name)
        for step in range(5):
            log.log_metrics({"loss": step / 3, **({"val": 0.5} if step == 3 else {})}, step)
            log.save()
    theirs, ours = (tmp_path / n / "version_0" / "metrics.csv" for n in ("theirs", "ours"))
    assert ours.read_text() == theirs.read_text()


def test_an_interrupted_write_leaves_nothing(tmp_path):
    file = tmp_path / "a.json"
    write_whole(file, "old")
    with pytest.raises(KeyboardInterrupt), whole_file(file) as part:
        part.write_text("ne")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "rights"),
        (errno.EROFS, "written to"),
        (errno.EIO, "the disk failed"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.ELOOP, "link"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOENT, "still there"),
    ],
)
def test_an_error_of_the_system_ends_in_one_line_with_path_and_cure(code, said, capsys):
    error = OSError(code, os.strerror(code), "/data/frame.png")
    error.add_note("the state after step 3 is in last.ckpt")

    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    told = capsys.readouterr().err
    assert stop.value.code == 1 and told.count("\n") == 1
    assert told.startswith(f"error: /data/frame.png: {os.strerror(code)}; ") and said in told
    assert told.endswith("; the state after step 3 is in last.ckpt\n")


def test_words_of_ours_stay_as_they_are():
    assert in_words(FileNotFoundError("no folder x: set --data.root")) == (
        "no folder x: set --data.root"
    )


def test_a_name_that_is_too_long_is_named(tmp_path):
    with pytest.raises(OSError) as told:
        write_whole(tmp_path / ("a" * 300), "text")
    assert "a" * 300 in in_words(told.value) and "shorter" in in_words(told.value)
