"""The rooms and their allowed imports, as docs/architecture.md draws them."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from small import ROOT

from dff.__main__ import VERBS

PACKAGE = ROOT / "dff"
LIGHTNING = {"lightning", "torchmetrics", "wandb"}
ABOVE = {"dff.commands", "dff.exit", "dff.__main__"}
"""The command line, which imports all others and is imported by none of them."""
FORBIDDEN = {
    "data": {"dff.models", "dff.inference", "dff.lit", *LIGHTNING},
    "models": {
        *("dff.data", "dff.inference", "dff.lit", *LIGHTNING),
        *("albumentations", "decord", "av", "matplotlib", "tqdm"),
    },
    "inference": {"dff.lit", *LIGHTNING, "albumentations", "decord"},
    "lit": {"albumentations", "decord", "av", "cv2"},
    "configs": {"dff.data", "dff.models", "dff.inference", "dff.lit", "torch", *LIGHTNING},
    "commands": {"dff.__main__", "dff.exit", *LIGHTNING},
}
for _room in FORBIDDEN.keys() - {"commands"}:
    FORBIDDEN[_room] |= ABOVE
QUICK = ("dff", "dff.__main__", "dff.exit", "dff.configs", "dff.models.names")
SLOW = {
    *("dff.commands.evaluate", "dff.commands.measure_flow", "dff.commands.evaluate_flow"),
    *(
        "dff.commands.data.benchmark_data",
        "dff.commands.demos.demo",
        "dff.commands.demos.demo_flow",
    ),
    *("dff.commands.schedules.fit", "dff.commands.schedules.compare"),
}
"""Verbs whose arguments are those of Lightning's classes, and those that begin by measuring."""
HEAVY = {"torch", "torchvision", "albumentations", "numpy", "cv2", "av", "matplotlib", *LIGHTNING}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    folders = any(file.is_dir() for file in (PACKAGE / room).glob("[a-z]*"))
    assert folders == any(file.parent != PACKAGE / room for file in files)  # they are looked at too
    for file in files:
        wrong = {
            name
            for name in imports(file)
            if any(name == f or name.startswith(f + ".") for f in FORBIDDEN[room])
        }
        assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


def test_help_waits_for_no_import():
    """What is imported before the arguments are read: by `dff`, and by each verb of argparse."""
    quick = [*QUICK, *(module for module, _ in VERBS.values() if module not in SLOW)]
    code = f"import importlib, sys\nfor name in {quick}: importlib.import_module(name)\n"
    code += "print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # numpy alone takes a twentieth of a second
    assert not (HEAVY - {"numpy"}) & set(done.stdout.split())
    assert SLOW < {module for module, _ in VERBS.values()}


def test_no_modules_import_each_other_in_a_circle():
    files = {module_name(file): file for file in PACKAGE.rglob("*.py")}
    needs = {name: imports(file) & files.keys() - {name} for name, file in files.items()}
    # A package is imported with each of its modules; only what its __init__ imports counts.
    while needs:
        free = {name for name, wanted in needs.items() if not wanted & needs.keys()}
        assert free, f"in or behind a circle: {sorted(needs)}"
        needs = {name: wanted for name, wanted in needs.items() if name not in free}


def test_grid_sample_stands_in_one_place():
    users = [f.name for f in PACKAGE.rglob("*.py") if "F.grid_sample(" in f.read_text()]
    assert users == ["warp.py"]


def test_files_stay_short_enough_to_hold_in_the_head():
    for file in [*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        assert len(file.read_text().splitlines()) <= 350, file
    for file in (PACKAGE / "configs").glob("*.yaml"):
        assert len(file.read_text().splitlines()) <= 40, file


def test_folders_stay_small_enough_to_take_in_at_a_glance():
    modules = Counter(f.parent for f in PACKAGE.rglob("*.py") if f.name != "__init__.py")
    assert {str(folder): n for folder, n in modules.items() if n > 14} == {}
    assert modules[PACKAGE / "models"] <= 8  # the paper, readable in one sitting


TASKS = {"segmentation", "detection"}


def tells_tasks_apart(source):
    """Lines with a comparison, or a case, of the name of a task."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare | ast.MatchValue)
        and any(isinstance(n, ast.Constant) and n.value in TASKS for n in ast.walk(node))
    ]


def test_tasks_are_told_apart_in_their_own_files_alone():
    for line in ('a == "detection"', '"segmentation" in found', 'a in ("detection", "joint")'):
        assert tells_tasks_apart(f"x = {line}")
    assert tells_tasks_apart('match a:\n    case "segmentation":\n        pass')
    own = {PACKAGE / "inference" / "tasks" / f"{name}.py" for name in TASKS}
    assert all(file.is_file() for file in own)
    for file in {*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")} - own:
        lines = tells_tasks_apart(file.read_text())
        assert not lines, f"{file.relative_to(ROOT)} tells tasks apart in line {lines}"
