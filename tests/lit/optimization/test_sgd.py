import numpy as np
import pytest
import torch
from small import SHARED

from dff.lit.optimization.sgd import SGD

FOLDER = SHARED / "reference"


def run(make, rates, gradients, start):
    """The weights after each step of an optimiser that `make` makes for them."""
    weight = torch.nn.Parameter(start.clone())
    optimizer = make([weight])
    path = []
    for rate, gradient in zip(rates, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = gradient.clone()
        optimizer.step()
        path.append(weight.detach().clone())
    return torch.stack(path)


def drawn(steps):
    torch.manual_seed(0)
    return torch.randn(steps, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)


def test_one_learning_rate_is_torch_sgd():
    gradients, start = drawn(6)
    rates = [0.1] * 6
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    ours = run(lambda p: SGD(p, **settings), rates, gradients, start)
    torchs = run(lambda p: torch.optim.SGD(p, **settings), rates, gradients, start)
    torch.testing.assert_close(ours, torchs)


def test_old_steps_go_on_when_the_learning_rate_falls():
    gradients, start = torch.zeros(3, 1), torch.zeros(1)
    gradients[0] = 1.0
    path = run(lambda p: SGD(p, momentum=0.5), [1.0, 0.1, 0.0], gradients, start)
    assert path.flatten().tolist() == pytest.approx([-1.0, -1.5, -1.75])
    fallen = run(lambda p: torch.optim.SGD(p, momentum=0.5), [1.0, 0.1, 0.0], gradients, start)
    assert fallen.flatten().tolist() == pytest.approx([-1.0, -1.05, -1.05])


def test_state_survives_saving():
    gradients, start = drawn(6)
    whole = run(lambda p: SGD(p, lr=0.1), [0.1] * 6, gradients, start)
    weight = torch.nn.Parameter(start.clone())
    optimizer = SGD([weight], lr=0.1)
    for step, gradient in enumerate(gradients):
        if step == 3:
            state = optimizer.state_dict()
            optimizer = SGD([weight], lr=5.0)
            optimizer.load_state_dict(state)
        weight.grad = gradient
        optimizer.step()
    assert torch.equal(weight.detach(), whole[-1])


def test_a_parameter_without_gradient_stays():
    moved, still = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = SGD([moved, still], lr=0.1, weight_decay=0.1)
    moved.grad = torch.ones(2)
    optimizer.step()
    assert (moved < 1).all() and (still == 1).all()


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
def test_settings_below_zero_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name}=-1: wanted 0 or more"):
        SGD([torch.nn.Parameter(torch.ones(1))], **{name: -1})


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no reference vectors at {FOLDER}: set DFF_SHARED")
def test_steps_of_the_official_code():
    data = np.load(FOLDER / "sgd.npz")
    grads, wanted = torch.from_numpy(data["grads"]), torch.from_numpy(data["traj"])
    start, rates = torch.from_numpy(data["w0"]), data["lrs"].tolist()
    assert len(set(rates)) > 1

    def path(optimizer):
        rows = []
        for index, name in enumerate(data["names"]):
            decay = 5e-4 if name.endswith(("_weight", "_gamma")) else 0.0
            settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": decay}
            # The official graph freezes this one by a factor of 0 on its learning rate.
            frozen = name == "Convolution5_scale_bias"
            own = [0.0] * len(rates) if frozen else rates
            rows.append(
                run(lambda p, s=settings: optimizer(p, **s), own, grads[:, index], start[index])
            )
        return torch.stack(rows, 1)

    print(f"max abs error {(path(SGD) - wanted).abs().max():.1e}")
    torch.testing.assert_close(path(SGD), wanted, rtol=1e-6, atol=1e-6)
    assert (path(torch.optim.SGD) - wanted).abs().max() > 0.01
