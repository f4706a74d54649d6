import pytest
import torch
from torch import nn

from dff.lit.optimization.optimizers import configure, freeze, lr_factor


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
        self.bodyguard = nn.Linear(2, 2)
        self.head = nn.Linear(2, 2)


def settings(**kwargs):
    return {
        "optimizer": "sgd",
        "lr": 1.0,
        "weight_decay": 0.5,
        "momentum": 0.9,
        "milestones": [2],
        "factors": {},
        "total_steps": 10,
        **kwargs,
    }


def group_of(optimizer, parameter):
    return next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))


def test_the_longest_prefix_counts_and_prefixes_end_at_a_dot():
    factors = {"body": 0.1, "body.1": 0.5}
    assert lr_factor("body.0.weight", factors) == 0.1
    assert lr_factor("body.1.weight", factors) == 0.5
    assert lr_factor("bodyguard.weight", factors) == 1.0
    assert lr_factor("head.bias", {"head.bias": 0.0}) == 0.0


def test_freeze_names_the_modules_that_belong_in_eval_mode():
    model = Model()
    frozen = freeze(model, {"body": 0.0, "head.bias": 0.0})
    assert not any(p.requires_grad for p in model.body.parameters())
    assert model.head.weight.requires_grad and not model.head.bias.requires_grad
    assert model.body in frozen and model.body[1] in frozen and model.head not in frozen


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no parameter is called 'bodie'; parts are .*body\.0"):
        freeze(Model(), {"bodie": 0.1})


def test_decay_is_for_weights_and_gammas_and_factors_scale_the_rate():
    model = Model()
    optimizer = configure(model, **settings(factors={"head": 0.1}))["optimizer"]
    assert group_of(optimizer, model.body[1].weight)["weight_decay"] == 0.5
    assert group_of(optimizer, model.body[1].bias)["weight_decay"] == 0.0
    assert group_of(optimizer, model.head.bias)["weight_decay"] == 0.0
    assert group_of(optimizer, model.head.weight)["lr"] == pytest.approx(0.1)
    assert group_of(optimizer, model.bodyguard.weight)["lr"] == 1.0
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


def test_sgd_falls_to_a_tenth_after_its_milestones():
    made = configure(Model(), **settings())
    rates = []
    for _ in range(4):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([1, 1, 0.1, 0.1])
    assert made["lr_scheduler"]["interval"] == "step"


def test_adam_halves_after_its_milestones_as_flownet():
    model = Model()
    made = configure(model, **settings(optimizer="adam", milestones=[1, 3], decay=0.5))
    optimizer = made["optimizer"]
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert group_of(optimizer, model.head.weight)["weight_decay"] == 0.5
    assert group_of(optimizer, model.head.bias)["weight_decay"] == 0.0
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([1, 0.5, 0.5, 0.25])


def test_adams_weight_decay_is_in_the_gradient_as_caffes():
    model = Model()
    before = model.head.weight.detach().clone()
    optimizer = configure(model, **settings(optimizer="adam", lr=0.01))["optimizer"]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # Adam's first step has the length lr, whatever the gradient: here that of the decay alone.
    torch.testing.assert_close(model.head.weight.detach(), before - 0.01 * before.sign())


@pytest.mark.parametrize("decay", [0.0, -0.5, 2.0])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match=rf"decay={decay}: wanted a factor over 0"):
        configure(Model(), **settings(decay=decay))


def test_one_cycle_peaks_at_the_rate_of_each_part():
    model = Model()
    made = configure(model, **settings(optimizer="adamw", factors={"head": 0.1}))
    peaks = {"head": 0.0, "body": 0.0}
    for _ in range(10):
        peaks["head"] = max(peaks["head"], group_of(made["optimizer"], model.head.weight)["lr"])
        peaks["body"] = max(peaks["body"], group_of(made["optimizer"], model.body[0].weight)["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert peaks == {"head": pytest.approx(0.1), "body": pytest.approx(1.0)}


@pytest.mark.parametrize("steps", range(1, 12))
def test_a_cycle_of_any_length(steps):
    made = configure(Model(), **settings(optimizer="adamw", total_steps=steps))
    for _ in range(steps - 1):
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert made["optimizer"].param_groups[0]["lr"] > 0


@pytest.mark.parametrize(("steps", "fits"), [(10, True), (7, True), (3, True), (11, False)])
def test_a_cycle_is_taken_up_where_it_is_long_enough(steps, fits):
    def cycle(total_steps):
        made = configure(Model(), **settings(optimizer="adamw", total_steps=total_steps))
        return made["optimizer"], made["lr_scheduler"]["scheduler"]

    optimizer, schedule = cycle(10)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    _, other = cycle(steps)
    if not fits:
        with pytest.raises(ValueError, match=r"cycle of 10 steps, of which 4 are done, .* has 11"):
            other.load_state_dict(schedule.state_dict())
        return
    if steps == 7:
        with pytest.warns(UserWarning, match="ends at 7, before it has come down"):
            other.load_state_dict(schedule.state_dict())
    else:
        other.load_state_dict(schedule.state_dict())
    assert other.get_last_lr() == schedule.get_last_lr()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_where_time_alone_ends_a_training_only_a_cycle_is_refused(
    optimizer, small_module, small_streets, trainer
):
    """Lightning then tells an endless number of steps."""
    module = small_module(optimizer=optimizer, milestones=[10])
    endless = trainer(max_steps=-1, max_epochs=-1, max_time={"seconds": 1}, limit_val_batches=0)
    if optimizer == "sgd":
        endless.fit(module, small_streets())
    else:
        with pytest.raises(ValueError, match=r"wants an end: set --trainer\.max_steps"):
            endless.fit(module, small_streets())


def test_nothing_to_train_and_no_end_are_refused():
    model = Model()
    with pytest.raises(ValueError, match="wants an end"):
        configure(model, **settings(optimizer="adamw", total_steps=-1))
    freeze(model, {"body": 0.0, "bodyguard": 0.0, "head": 0.0})
    with pytest.raises(ValueError, match="nothing is left to train"):
        configure(model, **settings())


def test_weight_decay_acts_on_weights_alone():
    model = Model()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = configure(model, **settings(lr=0.1))["optimizer"]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if name.endswith("weight") else before[name]
        torch.testing.assert_close(parameter.detach(), expected)
