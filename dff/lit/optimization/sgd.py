"""SGD as the official code has it, where the momentum remembers the learning rate."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch


class SGD(torch.optim.Optimizer):
    """SGD whose momentum holds steps, not gradients: m = momentum m - lr (g + decay w); w += m.

    While the learning rate stays, that is torch.optim.SGD. When it falls, torch's steps become
    smaller at once, and these go on for some more steps of the old size (MXNet's `sgd_mom_update`).

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: Share of the last step that goes into the next.
        weight_decay: Share of the weights that is added to their gradients.

    Raises:
        ValueError: A setting below 0.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        for name, value in settings.items():
            if value < 0:
                raise ValueError(f"{name}={value}: wanted 0 or more")
        super().__init__(params, settings)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; parameters without a gradient stay as they are.

        Args:
            closure: Computes the loss anew.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            for weight in weights:
                if "momentum" not in self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            steps = [self.state[weight]["momentum"] for weight in weights]
            # All tensors of a group at once: on a GPU one launch instead of one for each tensor.
            grads = torch._foreach_add(
                [weight.grad for weight in weights], weights, alpha=group["weight_decay"]
            )
            torch._foreach_mul_(steps, group["momentum"])
            torch._foreach_add_(steps, grads, alpha=-group["lr"])
            torch._foreach_add_(weights, steps)
        return loss
