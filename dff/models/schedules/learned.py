"""A head that foretells how far a carried result agrees with the network's own.

It sees what is left of propagation when no label is known: the flow, the difference that it leaves,
and what the flow network knows beside it. After Xu et al. 2018 (Dynamic Video Segmentation
Network), whose decision network does so too; here it reads a few numbers of each map, so that it is
trained in seconds and works with any flow function.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.schedule import Evidence, Wanted
from dff.models.schedules.needs import is_cut

_GRID = (3, 4)
_HIDDEN = 48


def evidence_vector(evidence: Evidence) -> Tensor:
    """What the head reads of the evidence: (F,) float32 on the CPU.

    The difference: its mean, in each of 3 x 4 parts of the frame, its largest local means; the
    share of the frame that the key frame does not show; the flow's length in shares of the shorter
    side, its mean, largest local mean and unevenness; mean and spread of each channel of the flow
    network's context; the logarithm of the frames since the key frame.
    """
    maps, flow, frame = evidence.differences, evidence.flow, evidence.frame
    assert maps is not None and flow is not None and frame is not None
    error, inside = maps.float().unbind(1)
    parts = F.adaptive_avg_pool2d(error, _GRID).flatten()
    local = F.adaptive_avg_pool2d(error, (12, 16)).flatten()
    unseen = F.adaptive_avg_pool2d(1 - inside, _GRID).flatten()
    length = flow.float().norm(dim=1) / min(frame.shape[-2:])
    uneven = [length.diff(dim=d).abs().mean().view(1) for d in (1, 2)]
    motion = F.adaptive_max_pool2d(F.adaptive_avg_pool2d(length, (12, 16)), _GRID).flatten()
    values = [
        *(error.mean().view(1), parts, local.topk(8).values),
        *(1 - inside.mean().view(1), unseen, length.mean().view(1), motion, *uneven),
    ]
    if evidence.context is not None:
        context = evidence.context.float().flatten(2)[0]
        values += [context.mean(1), context.std(1)]
    since = torch.tensor([math.log(max(evidence.since_key, 1))])
    return torch.cat([torch.cat(values).cpu(), since])


class AgreementHead(nn.Module):
    """Evidence vectors (n, F) -> agreement (n,), 0 to 1.

    Args:
        inputs: F.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        self.layers = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(inputs, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1)
        )

    def normalize_by(self, vectors: Tensor) -> None:
        """Takes mean and deviation of the inputs from vectors (n, F)."""
        self.mean = vectors.mean(0)
        self.deviation = vectors.std(0).clamp(min=1e-6)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        # beyond four deviations nothing was seen in training
        inputs = ((vectors - self.mean) / self.deviation).clamp(-4, 4)
        out: Tensor = self.layers(inputs)
        return torch.sigmoid(out[:, 0])


@dataclass(frozen=True)
class LearnedNeed:
    """One minus the agreement that a head foretells; a `Need`.

    Args:
        head: Trained, in eval mode.
        usual: See `Need`.
    """

    head: AgreementHead
    usual: float = 1.0
    wants: frozenset[Wanted] = field(default=frozenset({"previous", "difference", "flow"}))

    def __call__(self, evidence: Evidence) -> float:
        """See `Need`.

        Raises:
            ValueError: The head is one for another flow network.
        """
        if is_cut(evidence):
            return math.inf
        vector = evidence_vector(evidence)
        if len(vector) != len(self.head.mean):
            raise ValueError(
                f"the learned schedule reads {len(self.head.mean)} numbers of a frame, and this "
                f"model gives {len(vector)}: it was trained with another flow network; train it "
                "with this model by dff fit-schedule"
            )
        with torch.no_grad():
            return 1 - float(self.head(vector.unsqueeze(0)))


def saved_head(head: AgreementHead, usual: float) -> dict[str, Any]:
    """What `loaded_need` takes."""
    return {"agreement_head": head.state_dict(), "usual": usual}


def loaded_need(saved: Mapping[str, Any]) -> LearnedNeed:
    """The need by a head that `saved_head` gave.

    Raises:
        KeyError: It holds none.
        RuntimeError: Its tensors do not fit.
    """
    state = saved["agreement_head"]
    head = AgreementHead(len(state["mean"]))
    head.load_state_dict(state)
    return LearnedNeed(head.eval(), float(saved["usual"]))
