"""Values for a JSON file, which knows no NaN and no infinity."""

import math
from typing import Any


def nan_to_none(value: Any) -> Any:
    """The same with None in the place of numbers that are not finite, in dicts and lists too."""
    if isinstance(value, dict):
        return {k: nan_to_none(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [nan_to_none(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
