"""Devices by the words that people give for them."""

import torch


def usable_device(wanted: torch.device | str | None = None) -> torch.device:
    """A device, tried out.

    Args:
        wanted: Such as "cpu" or "cuda:1"; None is a GPU where there is one.

    Raises:
        ValueError: There is none of that name here.
    """
    if wanted is None:
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=wanted).device
    except (RuntimeError, AssertionError) as error:  # no such word, no such GPU, or no driver
        if str(wanted).startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(
                f"device {wanted}: no GPU here: leave --device out, or give cpu"
            ) from error
        reason = str(error).split(". ")[0].splitlines()[0][:200]
        raise ValueError(
            f"device {str(wanted)!r} is none of this machine ({reason}): wanted one at hand, such "
            "as cpu, cuda or cuda:1"
        ) from error


def check_accelerator(word: str) -> None:
    """Refuses the GPUs of a machine that has none.

    Args:
        word: One of Lightning's, such as "auto", "cpu" or "gpu".

    Raises:
        ValueError: There is no GPU.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    if (word == "gpu" and found is None) or (word == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"--accelerator {word}: no GPU here: leave it out, or give cpu")


def only_device(accelerator: str, devices: int | str, num_nodes: int) -> torch.device | None:
    """The device, where one process on one device does all; None where Lightning shares the work.

    Args:
        accelerator: One of Lightning's, such as "auto", "cpu" or "gpu".
        devices: How many, "auto", or the numbers of GPUs.
        num_nodes: Machines.

    Raises:
        ValueError: A GPU is wanted, and there is none.
    """
    check_accelerator(accelerator)
    found = torch.accelerator.current_accelerator(check_available=True)
    if accelerator == "cpu" or (accelerator == "auto" and found is None):
        found = torch.device("cpu")
    elif accelerator not in ("auto", "gpu") and (found is None or accelerator != found.type):
        return None  # Lightning knows others, and says what is wrong with a word
    if found is None or num_nodes != 1 or devices not in (1, "auto", -1):
        return None
    one = devices == 1 or (found.type == "cpu" and devices == "auto")
    return found if one or torch.accelerator.device_count() == 1 else None
