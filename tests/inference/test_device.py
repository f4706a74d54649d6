"""Words for devices: what is not there is told with its cure."""

import pytest
import torch

from dff.inference.deploy.device import check_accelerator, usable_device


def test_without_a_word_it_is_a_gpu_where_there_is_one():
    assert usable_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert usable_device(torch.device("cpu")) == torch.device("cpu")


def test_a_word_of_no_device_is_refused():
    with pytest.raises(ValueError, match=r"device 'foo' is none of this machine .* such as cpu"):
        usable_device("foo")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cure_is_told():
    with pytest.raises(ValueError, match="device cuda: no GPU here: leave --device out, or give"):
        usable_device("cuda")
    with pytest.raises(ValueError, match="--accelerator cuda: no GPU here: leave it out, or give"):
        check_accelerator("cuda")
