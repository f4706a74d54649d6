"""The rooms and their allowed imports, as docs/architecture.md draws them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "data": {"dff.models", "dff.lit", "lightning", "torchmetrics", "wandb"},
    "models": {
        *("dff.data", "dff.lit", "lightning", "torchmetrics", "wandb"),
        *("albumentations", "decord", "av", "matplotlib", "tqdm"),
    },
    "lit": {"albumentations", "decord", "av", "cv2"},
}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room):
    files = sorted((ROOT / "dff" / room).glob("*.py"))
    assert len(files) > 1
    for file in files:
        wrong = {
            name
            for name in imports(file)
            if any(name == f or name.startswith(f + ".") for f in FORBIDDEN[room])
        }
        assert not wrong, f"{file.name} imports {wrong}"


def test_grid_sample_stands_in_one_place():
    users = [f.name for f in (ROOT / "dff").rglob("*.py") if "F.grid_sample(" in f.read_text()]
    assert users == ["warp.py"]


def test_files_stay_short_enough_to_hold_in_the_head():
    for file in [*(ROOT / "dff").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        assert len(file.read_text().splitlines()) <= 350, file
    for file in (ROOT / "configs").glob("*.yaml"):
        assert len(file.read_text().splitlines()) <= 40, file
