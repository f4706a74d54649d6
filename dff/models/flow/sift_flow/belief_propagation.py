"""Belief propagation for flow: horizontal and vertical displacement as two coupled layers.

Minimises (Liu, Yuen, Torralba 2011, Eq. 1 and Sec. 3.2) over a displacement (u, v) at each pixel p

    sum_p data(p, u, v) + unary(p, u) + unary(p, v)
    + sum_{p, q neighbours} min(alpha |u_p - u_q|, d) + min(alpha |v_p - v_q|, d).

u and v are two layers of nodes. Smoothness couples a layer in itself, the data couples the two
nodes of a pixel, so a message costs L or L^2 steps for L labels, and not L^4.
"""

import numpy as np


def truncated_linear(costs: np.ndarray, alpha: float, d: float) -> np.ndarray:
    """Min-sum message through min(alpha |k - l|, d), by the distance transform.

    `out(l) = min_k costs(k) + min(alpha |k - l|, d)` in two passes over the labels (Felzenszwalb
    and Huttenlocher 2006), for all else at once.

    Args:
        costs: (L, ...).
        alpha: Cost of a step.
        d: Cost at most.

    Returns:
        (L, ...).
    """
    out = costs.copy()
    _two_passes(out, alpha, np.empty_like(out[0]))
    messages: np.ndarray = np.minimum(out, costs.min(0) + d)
    return messages


def _two_passes(costs: np.ndarray, alpha: float | np.float32, free: np.ndarray) -> None:
    """`min_k costs(k) + alpha |k - l|` in place; `free` is space for one label."""
    labels = len(costs)
    for label in range(1, labels):
        np.add(costs[label - 1], alpha, out=free)
        np.minimum(costs[label], free, out=costs[label])
    for label in range(labels - 2, -1, -1):
        np.add(costs[label + 1], alpha, out=free)
        np.minimum(costs[label], free, out=costs[label])


class Chains:
    """Messages along all rows of a grid at once, there and back: exact for each row by itself.

    Label l of pixel p means the displacement `offset(p) + l`, so labels of neighbours with
    different offsets are compared after a shift.

    Args:
        offset: (2, n, m) int: of both layers; chains run along n.
        labels: L.
        alpha: Cost of a difference of 1 between neighbours.
        d: Cost of a difference at most.
    """

    def __init__(self, offset: np.ndarray, labels: int, alpha: float, d: float) -> None:
        layers, _, columns = offset.shape
        self.alpha, self.d = np.float32(alpha), np.float32(d)
        step = np.diff(offset, axis=1)
        # (steps, direction, layer, m): forwards goes i - 1 -> i, backwards n - i -> n - 1 - i.
        step = np.stack((step, -step[:, ::-1])).transpose(2, 0, 1, 3)
        wanted = np.arange(labels)[:, None, None, None] + step[:, None]
        nearest = wanted.clip(0, labels - 1)
        # Beyond the sender's labels the transform goes on with slope alpha: exact, not a guess.
        self.beyond = self.alpha * np.abs(wanted - nearest).astype(np.float32)
        place = np.arange(2 * layers * columns).reshape(2, layers, columns)
        self.index = nearest * place.size + place

    def sums(self, costs: np.ndarray) -> np.ndarray:
        """What both neighbours in the chain send to each pixel, added up.

        Args:
            costs: (L, 2, n, m) float32: all that a node knows but from its chain.

        Returns:
            (L, 2, n, m).
        """
        labels, layers, length, columns = costs.shape
        out = np.zeros_like(costs)
        message = np.zeros((labels, 2, layers, columns), np.float32)
        belief = np.empty_like(message)
        free = np.empty_like(message[0])
        for i in range(1, length):
            np.add(costs[:, :, i - 1], message[:, 0], out=belief[:, 0])
            np.add(costs[:, :, length - i], message[:, 1], out=belief[:, 1])
            # The smallest becomes 0: a constant in a message changes nothing, and sums stay small.
            belief -= belief.min(0)
            _two_passes(belief, self.alpha, free)
            # `clip` skips the check of indices, which are right.
            np.take(belief.reshape(-1), self.index[i - 1], out=message, mode="clip")
            message += self.beyond[i - 1]
            np.minimum(message, self.d, out=message)
            out[:, :, i] += message[:, 0]
            out[:, :, length - 1 - i] += message[:, 1]
        return out


def minimise(
    data: np.ndarray,
    unary: np.ndarray,
    offset: np.ndarray,
    alpha: float,
    d: float,
    iterations: int,
) -> tuple[np.ndarray, list[float]]:
    """Looks for the labels of least energy by min-sum belief propagation.

    One iteration sends messages between the layers, along all rows, between the layers again, and
    along all columns. A row is passed as a whole, there and back, so what a pixel knows crosses the
    picture in one iteration, as in sequential updates. Loopy propagation may leave a minimum
    again: the best labels seen are returned.

    Args:
        data: (L, L, H, W) float32: label of u, label of v, pixel.
        unary: (L, 2, H, W) float32: of u and of v.
        offset: (2, H, W) int: label l means the displacement `offset + l`.
        alpha: Cost of a difference of 1 between neighbours.
        d: Cost of a difference at most.
        iterations: At most; it ends before where the labels of two iterations are the same.

    Returns:
        Labels (2, H, W) of u and v; the energy of the best labels of each iteration alone, the
        first being that of no message at all.
    """
    labels = len(data)
    turned = offset.swapaxes(1, 2)
    along_rows = Chains(turned, labels, alpha, d)
    along_columns = Chains(offset, labels, alpha, d)
    rows, columns = np.zeros_like(unary), np.zeros_like(unary)
    best = _decide(data, unary)
    energies = [energy(data, unary, offset, best, alpha, d)]
    last = best
    for _ in range(iterations):
        known = unary + columns + between_layers(data, unary + rows + columns)
        rows = along_rows.sums(np.ascontiguousarray(known.swapaxes(2, 3))).swapaxes(2, 3)
        known = unary + rows + between_layers(data, unary + rows + columns)
        columns = along_columns.sums(known)
        found = _decide(data, unary + rows + columns)
        if np.array_equal(found, last):
            break
        last = found
        energies.append(energy(data, unary, offset, found, alpha, d))
        if energies[-1] <= min(energies):
            best = found
    return best, energies


def energy(
    data: np.ndarray,
    unary: np.ndarray,
    offset: np.ndarray,
    labels: np.ndarray,
    alpha: float,
    d: float,
) -> float:
    """The energy of labels (2, H, W); other arguments as those of `minimise`."""
    rows, columns = np.indices(labels.shape[1:])
    total = data[labels[0], labels[1], rows, columns].sum(dtype=np.float64)
    for layer in range(2):
        total += unary[labels[layer], layer, rows, columns].sum(dtype=np.float64)
    displacement = (labels + offset).astype(np.float64)
    for axis in (1, 2):
        total += np.minimum(alpha * np.abs(np.diff(displacement, axis=axis)), d).sum()
    return float(total)


def between_layers(data: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Messages between the two nodes of each pixel: what v says to u, and u to v, (L, 2, H, W)."""
    out = np.empty_like(known)
    np.min(data + known[None, :, 1], axis=1, out=out[:, 0])
    np.min(data + known[:, None, 0], axis=0, out=out[:, 1])
    out -= out.min(0)
    return out


def _decide(data: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The best pair of labels of each pixel, together: (2, H, W)."""
    labels = len(data)
    joint = data + known[:, None, 0] + known[None, :, 1]
    best = joint.reshape(labels * labels, *data.shape[2:]).argmin(0)
    return np.stack(np.divmod(best, labels))
