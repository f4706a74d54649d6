"""What an installation holds: each module, and each file beside the modules."""

import tomllib

from small import ROOT

PACKAGE = ROOT / "dff"
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_each_folder_of_modules_is_a_package():
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert SETUPTOOLS["packages"]["find"]["include"] == ["dff*"]
    assert [str(f) for f in folders if not (f / "__init__.py").is_file()] == []


def test_each_file_beside_the_modules_is_package_data():
    declared = {f for pattern in SETUPTOOLS["package-data"]["dff"] for f in PACKAGE.glob(pattern)}
    files = {f for f in PACKAGE.rglob("*") if f.is_file() and "__pycache__" not in f.parts}
    others = {file for file in files if file.suffix != ".py"}
    assert PACKAGE / "configs/streets.yaml" in others
    assert others == declared
