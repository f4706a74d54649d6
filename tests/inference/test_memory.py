import platform
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from dff.inference.deploy.memory import keep_memory

def resident():  # MiB
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "keep":
    assert keep_memory()
map = torch.ones(64 * 2**20 // 4)
before = resident()
del map
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has these settings")
@pytest.mark.parametrize(("how", "given_back"), [("keep", 0), ("leave", 64)])
def test_freed_memory_is_kept_on_request_alone(how, given_back):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(given_back, abs=4)
