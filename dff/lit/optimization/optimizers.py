"""One optimiser for both kinds of training, with a learning-rate factor for each part."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from dff.lit.optimization.sgd import SGD

OptimizerName = Literal["sgd", "adam", "adamw"]


SCALE_LAYERS, OLD_SCALE_LAYER = "scale_layers.0", "flow_network.decoder.scale"


def lr_factor(name: str, factors: dict[str, float]) -> float:
    """The factor of a parameter: that of its longest matching prefix, 1 where none matches.

    The scale layers follow the flow network where no factor is given for them.
    """
    for called in (name, name.replace(SCALE_LAYERS, OLD_SCALE_LAYER)):
        matching = [p for p in factors if called == p or called.startswith(p.rstrip(".") + ".")]
        if matching:
            return factors[max(matching, key=len)]
    return 1.0


def freeze(model: nn.Module, factors: dict[str, float]) -> list[nn.Module]:
    """Stops the gradients of all parameters with factor 0.

    Returns:
        The modules that hold nothing but frozen parameters: they belong in eval mode, or their
        batch-norm statistics would go on moving.

    Raises:
        ValueError: A prefix that no parameter has.
    """
    names = [name for name, _ in model.named_parameters()]
    # A config with factors for the flow network also serves a classical flow.
    empty = {
        name: 0.0 for name, part in model.named_children() if next(part.parameters(), None) is None
    }
    for prefix in factors:
        if prefix.startswith(OLD_SCALE_LAYER):
            new = prefix.replace(OLD_SCALE_LAYER, SCALE_LAYERS)
            rank_zero_warn(f"lr_factors: {prefix} is called {new} now; the old name still works")
        named = any(lr_factor(name, {prefix: 0.0}) == 0.0 for name in names)
        if not named and lr_factor(prefix, empty) != 0.0:
            parts = sorted({".".join(name.split(".")[:2]) for name in names})
            raise ValueError(
                f"lr_factors: no parameter is called {prefix!r}; parts are {', '.join(parts)}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(lr_factor(name, factors) != 0.0)
    return [
        module
        for module in model.modules()
        if any(True for _ in module.parameters())
        and not any(p.requires_grad for p in module.parameters())
    ]


class OneCycle(torch.optim.lr_scheduler.OneCycleLR):
    """One cycle that a checkpoint's goes on from only where it is long enough.

    By itself it takes the checkpoint's length in place of its own, and fails in the step after.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the place in the cycle from a checkpoint.

        Raises:
            ValueError: Its cycle is shorter than this training.
        """
        cycle, done = state_dict["total_steps"], state_dict["last_epoch"]
        if self.total_steps > cycle:
            raise ValueError(
                f"the checkpoint's learning rate follows one cycle of {cycle} steps, of which "
                f"{done} are done, and this training has {self.total_steps}: set "
                f"--trainer.max_steps {cycle}, or begin a new run from its weights "
                "(--model.weights and --model.flow_weights)"
            )
        if done < self.total_steps < cycle:
            rank_zero_warn(
                f"the learning rate follows one cycle of {cycle} steps, and this training ends at "
                f"{self.total_steps}, before it has come down: --trainer.max_steps {cycle}"
            )
        super().load_state_dict(state_dict)


def configure(
    model: nn.Module,
    *,
    optimizer: OptimizerName,
    lr: float,
    weight_decay: float,
    momentum: float,
    milestones: list[int],
    factors: dict[str, float],
    total_steps: int,
    decay: float = 0.1,
    layer_decays: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """SGD with steps, as the paper; Adam with steps, as FlowNet; AdamW with one cycle, if short.

    Weight decay is for weights and batch-norm gammas, not for biases and betas (official code; so
    is FlowNet's). Adam has it in the gradient, as Caffe, and betas of 0.9 and 0.999.

    Args:
        model: Its parameters with a gradient are trained.
        optimizer: "sgd", "adam" or "adamw".
        lr: Learning rate of a part with factor 1.
        weight_decay: Of weights and gammas.
        momentum: Of SGD; the first beta of the others is 0.9.
        milestones: Steps after which the learning rate of SGD or Adam falls.
        factors: See `lr_factor`.
        total_steps: Length of AdamW's one cycle.
        decay: Factor of the learning rate at each milestone.
        layer_decays: Parameter -> a further factor of its learning rate.

    Returns:
        What Lightning's `configure_optimizers` returns.

    Raises:
        ValueError: Nothing is to be trained, a `decay` outside of 0 to 1, or AdamW without an end.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay={decay}: wanted a factor over 0 and up to 1, such as 0.1 or 0.5")
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = lr_factor(name, factors) * (layer_decays or {}).get(name, 1.0)
            key = factor, name.endswith("weight")
            groups.setdefault(key, []).append(parameter)
    settings = [
        {"params": p, "lr": lr * factor, "weight_decay": weight_decay if decays else 0.0}
        for (factor, decays), p in groups.items()
    ]
    if not settings:
        raise ValueError("lr_factors: every part has factor 0, so nothing is left to train")
    # On a CPU the plain loop over parameters takes as long as a small network's forward pass.
    on_cpu = all(p.device.type == "cpu" for parameters in groups.values() for p in parameters)
    fast = {"fused": True} if on_cpu else {}
    if optimizer != "adamw":
        made = (
            SGD(settings, lr=lr, momentum=momentum)
            if optimizer == "sgd"
            else torch.optim.Adam(settings, lr=lr, betas=(0.9, 0.999), **fast)
        )
        schedule = torch.optim.lr_scheduler.MultiStepLR(made, milestones, gamma=decay)
        return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
    if total_steps < 1:
        raise ValueError("adamw with one cycle wants an end: set --trainer.max_steps or max_epochs")
    adamw = torch.optim.AdamW(settings, lr=lr, **fast)
    schedule = OneCycle(
        adamw,
        [group["lr"] for group in settings],
        total_steps=total_steps,
        pct_start=0.2 if total_steps != 5 else 0.25,  # a rise of one step is divided by zero
    )
    return {"optimizer": adamw, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def configure_module(
    module: L.LightningModule, network: nn.Module, layer_decays: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """`configure` with the settings that a LightningModule keeps and its trainer's length."""
    h = module.hparams
    length = module.trainer.estimated_stepping_batches  # infinite where only time ends it
    return configure(
        network,
        optimizer=h.optimizer,
        lr=h.lr,
        weight_decay=h.weight_decay,
        momentum=h.momentum,
        milestones=h.milestones or [],
        factors=h.get("lr_factors") or {},
        total_steps=-1 if math.isinf(length) else int(length),
        decay=h.decay,
        layer_decays=layer_decays,
    )


class ClipsGradients(L.LightningModule):
    """Clips the gradients of fused optimisers on a CPU too.

    Lightning refuses any fused optimiser, for one may hold gradients that float16 has scaled. On a
    CPU nothing is scaled.
    """

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by norm, or by value where the trainer says so."""
        if not gradient_clip_val or not optimizer.param_groups[0].get("fused"):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        else:
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
