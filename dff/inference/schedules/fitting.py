"""Trains the head of a learned schedule on unlabelled videos: the model's own results teach it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dff.inference.model import Model
from dff.inference.schedules.observation import LabelledFrames, observe
from dff.models.schedules.learned import AgreementHead, evidence_vector

_STEPS = 1500
_HELD_OUT = 5  # each fifth stretch of pairs is not trained on


@dataclass(frozen=True)
class Fitted:
    """A trained head, and how well it foretells on pairs that it was not trained on.

    Attributes:
        head: In eval mode.
        pairs: How many pairs of frames it was trained on.
        held_out: How many it was judged by.
        error: Mean absolute error of the agreement there.
        error_by_gap: That of the mean agreement at each gap, which needs no head.
        correlation: Of both rankings there (Spearman), 1 is the same order.
        usual: The median of disagreement times gap.
    """

    head: AgreementHead
    pairs: int
    held_out: int
    error: float
    error_by_gap: float
    correlation: float
    usual: float


def fit_agreement(
    model: Model,
    videos: Sequence[LabelledFrames],
    longest: int = 20,
    every: int = 3,
    seed: int = 0,
    tell: Callable[[str], None] = lambda words: None,
) -> Fitted:
    """Trains a head that foretells how far carried results agree with the model's own.

    Args:
        model: Whose flow and results.
        videos: Unlabelled.
        longest: The largest gap that it learns, plus one.
        every: A key frame at every n-th frame.
        seed: Of the head.
        tell: Is told how far it is.

    Raises:
        ValueError: There are fewer than 50 pairs of which the agreement is known.
    """
    vectors: list[Tensor] = []
    agreements: list[float] = []
    gaps: list[int] = []
    for video in videos:
        tell(f"{video.name}: {len(video.frames)} frames")
        seen = observe(model, video, longest, vector=evidence_vector, every=every)
        for (frame, gap), vector in sorted(seen.vectors.items()):
            if seen.accuracy[frame, gap] == seen.accuracy[frame, gap]:
                vectors.append(vector)
                agreements.append(seen.accuracy[frame, gap])
                gaps.append(gap)
    if len(vectors) < 50:
        raise ValueError(
            f"{len(vectors)} pairs of frames with a known agreement: wanted 50 or more; give more "
            "videos or longer ones, on which the model finds anything"
        )
    return _fit(torch.stack(vectors), torch.tensor(agreements), torch.tensor(gaps), seed)


def _fit(vectors: Tensor, agreements: Tensor, gaps: Tensor, seed: int) -> Fitted:
    stretch = torch.arange(len(vectors)) * 4 * _HELD_OUT // len(vectors)
    held_out = stretch % _HELD_OUT == _HELD_OUT - 1
    train = ~held_out
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = AgreementHead(vectors.shape[1])
        head.normalize_by(vectors[train])
        _train(head, vectors[train], agreements[train], vectors[held_out], agreements[held_out])
    with torch.no_grad():
        told = head(vectors[held_out])
    true = agreements[held_out]
    # a gap that was not trained on has the mean of all
    missing = agreements[train].mean()
    of_gap = [agreements[train & (gaps == g)] for g in range(int(gaps.max()) + 1)]
    blind = torch.stack([v.mean() if len(v) else missing for v in of_gap])[gaps[held_out]]
    return Fitted(
        head,
        int(train.sum()),
        int(held_out.sum()),
        float((told - true).abs().mean()),
        float((blind - true).abs().mean()),
        _correlation(told, true),
        float(((1 - agreements) * gaps).median()),
    )


def _train(
    head: AgreementHead, vectors: Tensor, agreements: Tensor, others: Tensor, known: Tensor
) -> None:
    """Trains until the held-out pairs are foretold best."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
    least, best = float("inf"), {k: v.clone() for k, v in head.state_dict().items()}
    for step in range(_STEPS):
        chosen = torch.randint(len(vectors), (min(256, len(vectors)),))
        loss = F.smooth_l1_loss(head(vectors[chosen]), agreements[chosen], beta=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 24:
            head.eval()
            with torch.no_grad():
                error = float((head(others) - known).abs().mean())
            head.train()
            if error < least:
                least, best = error, {k: v.clone() for k, v in head.state_dict().items()}
    head.load_state_dict(best)
    head.eval()


def _correlation(one: Tensor, other: Tensor) -> float:
    ranks = torch.stack([v.argsort().argsort().double() for v in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])
