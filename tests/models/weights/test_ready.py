"""Flows that need no training, and the weights that come with the package."""

import pytest
import torch
import torch.nn.functional as F

from dff.models import build
from dff.models.weights.load import SHIPPED, load_weights
from dff.models.weights.ready import ready_flow_network, shipped_weights


def test_light_finds_a_motion_that_it_never_saw():
    wide = F.interpolate(
        torch.rand(1, 3, 30, 40, generator=torch.Generator().manual_seed(0)), scale_factor=8
    )
    key, current = wide[..., :192, :256], wide[..., 9 : 9 + 192, 14 : 14 + 256]
    with torch.inference_mode():
        flow = ready_flow_network("light").eval()(current, key).field
    # what lies at p in the current frame lies at p + (14, 9) in the key frame
    inner = flow[0, :, 4:-4, 4:-4]
    assert (inner - torch.tensor([14.0, 9.0]).view(2, 1, 1)).norm(dim=0).mean() < 1.5


def test_its_weights_are_small_and_of_this_network():
    (file,) = SHIPPED.values()
    assert file.stat().st_size < 5e6
    report = load_weights(build.flow_network("light"), "dff:light")
    assert not report.missing and not report.left_over
    with pytest.raises(ValueError, match="dff:light"):
        load_weights(build.flow_network("flownet_half"), "dff:light")


def test_what_needs_training_is_refused():
    assert shipped_weights("light") == "dff:light" and shipped_weights("flownet") is None
    assert list(ready_flow_network("dis_fast").parameters()) == []
    with pytest.raises(ValueError, match="'flownet' in place of the trained one"):
        ready_flow_network("flownet")
