"""bfloat16 is emulated without a word by torch; here with one."""

import pytest
import torch

from dff.configs import FOLDER
from dff.inference.deploy import precision
from dff.inference.deploy.precision import bf16_missing, usable_precision
from dff.lit.cli import _precision_by_hand


@pytest.fixture
def machine(monkeypatch):
    """Makes this machine another one: machine(avx512_bf16=..., amx_bf16=...)."""

    def make(name="x86_64", cuda=None, **capabilities):
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        monkeypatch.setattr(precision.platform, "machine", lambda: name)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
        monkeypatch.setattr(precision, "_other_accelerator", lambda: False)

    return make


@pytest.mark.parametrize(("bf16", "amx"), [(True, False), (False, True), (True, True)])
def test_a_cpu_with_either_unit_computes_it(bf16, amx, machine, monkeypatch):
    machine(avx512_bf16=bf16, amx_bf16=amx)
    assert bf16_missing() is None
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in bf16_missing()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX")
    assert bf16_missing() is None


def test_an_old_cpu_and_an_old_gpu_are_told(machine):
    machine(avx512_bf16=False, amx_bf16=False)
    assert "neither AMX nor AVX512_BF16" in bf16_missing()
    machine(cuda=False)
    assert bf16_missing() == "Old GPU computes no bfloat16 and emulates it"
    machine(cuda=True, avx512_bf16=False, amx_bf16=False)
    assert bf16_missing() is None and bf16_missing("cpu") is not None


def test_where_nobody_can_tell_nothing_is_said(machine):
    machine()
    assert bf16_missing() is None
    machine("riscv64", avx512_bf16=False, amx_bf16=False)
    assert bf16_missing() is None


def test_a_default_gives_way_and_a_choice_stands(machine, capsys):
    machine(avx512_bf16=False, amx_bf16=False)
    assert usable_precision("bf16-mixed", by_hand=False) == "32-true"
    assert "--trainer.precision bf16-mixed insists" in capsys.readouterr().out
    assert usable_precision("bf16-mixed", by_hand=True) == "bf16-mixed"
    assert "many times slower" in capsys.readouterr().out
    assert usable_precision("32-true", by_hand=False) == "32-true"
    machine(avx512_bf16=True, amx_bf16=False)
    assert usable_precision("bf16-mixed", by_hand=False) == "bf16-mixed"
    assert not capsys.readouterr().out


def test_flags_and_own_configs_are_choices(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text((FOLDER / "demo.yaml").read_text())
    shipped = ["--config", str(FOLDER / "demo.yaml")]
    assert not _precision_by_hand(shipped)
    assert _precision_by_hand([*shipped, "--trainer.precision", "bf16-mixed"])
    assert _precision_by_hand([*shipped, "--trainer.precision=bf16-mixed"])
    assert _precision_by_hand([*shipped, "--trainer", "{precision: bf16-mixed}"])
    assert _precision_by_hand([f"--config={own}"])
    own.write_text("trainer: {max_steps: 3}\n")
    assert not _precision_by_hand([*shipped, "--config", str(own)])
