"""Ends a training that has come apart, at the step where it did and before its weights have."""

import math
import sys
from collections.abc import Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SKIPPED = 30
"""Steps in a row that the scaler of float16 may skip. It begins at 65536 and halves each time, so
some are skipped in any training; after these it is at 0.00006, and no scale will help."""


class StopsAtNaN(L.Callback):
    """Stops before the first optimiser step whose loss or gradient is not finite.

    The weights are then still those of the step before, and the running statistics of batch norm,
    which the forward pass has moved, are put back: the checkpoint that is saved is a good one.

    All gradients are read once for each optimiser step, and one number is waited for. Processes of
    one training decide together.

    Raises:
        FloatingPointError: In the first process; the others end by themselves.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._statistics: list[tuple[Tensor, Tensor]] = []
        self._skipped = 0
        self._finite: list[Tensor] = []

    # --------------------------------------------------------------- training

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Makes room for the statistics of the layers that move them."""
        self._sums, self._skipped = {}, 0
        layers = [m for m in pl_module.modules() if isinstance(m, _BatchNorm) and m.training]
        self._statistics = [(b, b.clone()) for layer in layers for b in layer.buffers()]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the statistics at the first batch of a step."""
        if not self._sums:
            for current, kept in self._statistics:
                kept.copy_(current)

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Adds up the parts of the loss over the batches of a step, without waiting for them."""
        parts = getattr(pl_module, "losses", None) or {"loss": loss.detach()}
        self._sums = {n: self._sums[n] + p if n in self._sums else p for n, p in parts.items()}

    def on_before_optimizer_step(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Looks at loss and gradient before they reach the weights."""
        parts, self._sums = self._sums, {}
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        # The largest, for a sum of squares may itself be too large for a float.
        largest = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None], math.inf)
        finite = torch.stack([largest, *(part.to(largest) for part in parts.values())]).isfinite()
        if _everywhere(trainer, bool(finite.all())):
            self._skipped = 0
            return
        for current, kept in self._statistics:
            current.copy_(kept)
        self._skipped += 1
        # With float16 it tells that the scale was too large, and the scaler skips the step.
        if getattr(trainer.precision_plugin, "scaler", None) and self._skipped < SKIPPED:
            return
        _stop(
            trainer,
            f"step {trainer.global_step + 1} would spoil the weights: "
            f"{_what(pl_module, parts)}; {_learning_rate(optimizer)}, {trainer.precision}. "
            f"{_cure(pl_module, trainer.precision)}",
        )

    # ------------------------------------------------------------- validation

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Notes whether what the networks gave was finite, where `validation_step` returns it."""
        if isinstance(outputs, Tensor):
            self._finite.append(outputs)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops before the pictures and the checkpoint of such a validation."""
        finite, self._finite = self._finite, []
        if not finite or _everywhere(trainer, bool(torch.stack(finite).all())):
            return
        _stop(
            trainer,
            f"validation after step {trainer.global_step}: what the networks give is not finite, "
            f"{trainer.precision}. {_cure(pl_module, trainer.precision)}",
        )


def _everywhere(trainer: L.Trainer, finite: bool) -> bool:
    """Whether it is so in all processes; a single one is not kept waiting."""
    return trainer.strategy.reduce_boolean_decision(finite) if trainer.world_size > 1 else finite


def _stop(trainer: L.Trainer, words: str) -> None:
    if trainer.is_global_zero:
        raise FloatingPointError(words)
    # Not as a failure: Lightning kills all processes when one of them fails, the first one too,
    # which has yet to save and to say what happened.
    sys.exit(0)


def _what(module: L.LightningModule, parts: dict[str, Tensor]) -> str:
    values = {name: float(part) for name, part in parts.items()}
    told = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    if spoilt := _parts_of(n for n, p in module.named_parameters() if not p.isfinite().all()):
        return f"weights were not finite before it ({spoilt})"
    if not all(map(math.isfinite, values.values())):
        return f"its loss is not finite ({told})"
    gradients = ((n, p.grad) for n, p in module.named_parameters() if p.grad is not None)
    where = _parts_of(name for name, grad in gradients if not grad.isfinite().all())
    return f"its gradient is not finite in {where or 'another process'} (loss: {told})"


def _parts_of(names: Iterable[str]) -> str:
    """Names of parameters as those of the networks that they belong to."""
    parts = (".".join(name.removeprefix("model.").split(".")[:2]) for name in names)
    return ", ".join(dict.fromkeys(parts))


def _learning_rate(optimizer: torch.optim.Optimizer) -> str:
    rates = sorted({float(group["lr"]) for group in optimizer.param_groups})
    return "learning rate " + " to ".join(f"{rate:.3g}" for rate in {rates[0]: 0, rates[-1]: 0})


def _cure(module: L.LightningModule, precision: str) -> str:
    if not all(bool(p.isfinite().all()) for p in module.parameters()):
        return "Give other weights to begin with, or a lower --model.lr"
    ways = ["a lower --model.lr", "--trainer.gradient_clip_val 1"]
    if module.hparams.get("optimizer") != "adamw":
        ways.append("--model.optimizer adamw, which warms up")
    if precision != "32-true":
        ways.append("--trainer.precision 32-true")
    return f"Begin again with {', '.join(ways[:-1])} or {ways[-1]}"
