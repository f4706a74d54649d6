"""Where bfloat16 is computed, and where it is only emulated."""

import functools
import os
import platform
import time
from pathlib import Path

import torch

_ISA_WITH_BF16 = ("ALL", "DEFAULT", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX")


def bf16_missing(accelerator: str = "auto") -> str | None:
    """Says that a device has no bfloat16; None where it has, or where nobody can tell.

    An emulated bfloat16 is right and slow: a processor with AVX2 alone takes many times as long as
    for float32.

    Args:
        accelerator: "auto", "cpu", "gpu", "cuda" or another of Lightning's.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return None
        return f"{torch.cuda.get_device_name()} computes no bfloat16 and emulates it"
    if accelerator not in ("auto", "cpu") or (accelerator == "auto" and _other_accelerator()):
        return None
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
        limited = limit and not limit.startswith(_ISA_WITH_BF16) and not limit.startswith("AVX10")
        found = None if limited else _x86_has_bf16()
        if found or (found is None and not limited):
            return None
        why = f" (ONEDNN_MAX_CPU_ISA={limit})" if limited else ""
        return f"this CPU has neither AMX nor AVX512_BF16{why} and emulates bfloat16"
    if machine in ("aarch64", "arm64") and Path("/proc/cpuinfo").is_file():
        if "bf16" not in Path("/proc/cpuinfo").read_text():
            return "this CPU has no bfloat16 and emulates it"
    return None


def _x86_has_bf16() -> bool | None:
    """None where this torch cannot tell."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    wanted = [capabilities.get(name) for name in ("avx512_bf16", "amx_bf16")]
    return None if None in wanted else any(wanted)


def _other_accelerator() -> bool:
    found = torch.accelerator.current_accelerator(check_available=True)  # such as Apple's
    return found is not None and found.type != "cpu"


def dtype_of(precision: str) -> torch.dtype:
    """The type of the convolutions in one of Lightning's precisions."""
    halves = {"bf16": torch.bfloat16, "16": torch.float16}
    return halves.get(precision.partition("-")[0], torch.float32)


def usable_precision(precision: str, accelerator: str = "auto", by_hand: bool = True) -> str:
    """The precision to compute in, and a word where bfloat16 would be emulated.

    Args:
        precision: One of Lightning's.
        accelerator: As in `bf16_missing`.
        by_hand: Whether the user has chosen the precision; what came with a config of the project
            gives way to float32.
    """
    on_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    # Lightning computes float16 as bfloat16 on a CPU.
    if not str(precision).startswith(("bf16", "16") if on_cpu else "bf16"):
        return precision
    missing = bf16_missing(accelerator)
    if missing is None:
        return precision
    if by_hand:
        _say(f"{missing}: {precision} is right here and many times slower than 32-true")
        return precision
    _say(f"{missing}: 32-true instead; --trainer.precision {precision} insists")
    return "32-true"


@functools.cache
def fast_precision() -> str:
    """Lightning's name of the faster of bf16 and fp32: without matrix units bf16 is emulated."""
    if torch.cuda.is_available():
        return "bf16-mixed"
    image = torch.rand(4, 64, 96, 192).contiguous(memory_format=torch.channels_last)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    seconds = {}
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled), torch.inference_mode():
            layer(image)
            start = time.perf_counter()
            for _ in range(5):
                layer(image)
            seconds[enabled] = time.perf_counter() - start
    return "bf16-mixed" if seconds[True] < seconds[False] else "32-true"


def _say(words: str) -> None:
    """Prints in one of the processes that share a run."""
    ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    if set(ranks) == {"0"}:
        print(words, flush=True)
