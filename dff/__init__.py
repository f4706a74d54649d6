"""Deep Feature Flow for video recognition (Zhu et al., CVPR 2017)."""

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {"load": "dff.inference.model"}
"""Name -> its module, imported when the name is first used: `import dff` is quick."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
