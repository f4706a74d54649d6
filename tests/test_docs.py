"""The documentation: its code runs, its commands parse, its links and references hold."""

import argparse
import ast
import functools
import importlib
import re
import runpy
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import jsonargparse
import pytest
import torch
from small import ROOT

from dff import configs
from dff.__main__ import main
from dff.configs import FOLDER

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
CONFIGS = sorted(FOLDER.glob("*.yaml"))
FENCE = re.compile(r"^```(\w*) *(.*?)\n(.*?)^```$", re.M | re.S)
TITLE = re.compile(r'title="(.+?)(?: \((addition|excerpt)\))?"')


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fences(page: Path, language: str) -> list[tuple[str, str]]:
    """(What stands behind the language, the block) of each block in a language."""
    return [
        (more, block) for lang, more, block in FENCE.findall(page.read_text()) if lang == language
    ]


def with_python() -> list[Path]:
    return [page for page in PAGES if fences(page, "python")]


@pytest.fixture(scope="session")
def after_the_demo(tmp_path_factory):
    """A folder with what the blocks take from `make demo`: a model and a video, both small."""
    import numpy as np

    from dff.data.video.writer import VideoWriter
    from dff.lit.module import LitDFF

    folder = tmp_path_factory.mktemp("docs")
    demo = folder / "runs" / "demo"
    demo.mkdir(parents=True)
    module = LitDFF("resnet18", "flownet_half", feature_channels=16)
    saved = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(saved)
    torch.save(saved, demo / "model.ckpt")
    with VideoWriter(demo / "held_out.mp4", 10, (64, 64)) as video:
        for grey in (0, 80, 160):
            video.write(np.full((64, 64, 3), grey, np.uint8))
    return folder


@pytest.mark.parametrize("page", with_python(), ids=name_of)
def test_python_blocks_run_one_after_the_other(page, after_the_demo, monkeypatch):
    """A title names a new file or, marked as addition, a known one; excerpts do not run."""
    monkeypatch.chdir(after_the_demo)
    if page.name == "export.md":  # what its first command writes
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name, reason="the extra dff[onnx] is not installed")
        from dff.commands import export

        export.main(["runs/demo/model.ckpt", "--size", "64", "64"])
    names = {"__name__": "docs"}
    for more, block in fences(page, "python"):
        title = TITLE.match(more)
        if title is None:
            exec(compile(block, name_of(page), "exec"), names)
            continue
        file, kind = title.groups()
        assert (ROOT / file).exists() == (kind is not None), f"{file} is named as new or as known"
        dotted = file.removesuffix(".py").replace("/", ".")
        if kind == "addition":
            module = importlib.import_module(dotted)
            before = dict(vars(module))
            added = dict(before)
            exec(compile(block, file, "exec"), added)
            for name in added.keys() - before.keys():
                monkeypatch.setattr(module, name, added[name], raising=False)
        elif kind is None:
            module = types.ModuleType(dotted)
            exec(compile(block, file, "exec"), vars(module))
            monkeypatch.setitem(sys.modules, dotted, module)
            parent, _, leaf = dotted.rpartition(".")
            if parent:
                monkeypatch.setattr(importlib.import_module(parent), leaf, module, raising=False)
    if page.name == "extending.md":
        check_examples()


def check_examples():
    from borders import LitBorders
    from dff.models.flow.farneback import FarnebackFlow

    from dff.inference.evidence import plan
    from dff.models.schedule import DifferenceSchedule

    heads = {"segmentation": 1.0, "borders": 0.5}
    module = LitBorders("resnet18", "flownet_half", feature_channels=4, heads=heads)
    task, head = module.tasks["borders"], module.model.heads["borders"]
    features = torch.rand(2, 4, 4, 6)
    batch = {"mask": torch.zeros(2, 64, 96, dtype=torch.uint8), "gap": torch.tensor([0, 4])}
    head.loss(features, batch)["borders"].backward()
    assert all(p.grad is not None for p in head.parameters())
    found = head.predict(features, (64, 96))
    assert found.shape == (2, 64, 96)
    accuracy = task.accuracy([0, 4])
    right = accuracy.result(accuracy.count(found, batch))["by_gap"]
    torch.testing.assert_close(right, (found == 0).flatten(1).float().mean(1))
    schedule, dark = DifferenceSchedule(longest=3), torch.zeros(1, 3, 64, 64)
    frames = [dark, dark, dark + 0.5, dark + 0.5, dark + 0.5, dark + 0.5]
    asked = list(plan(schedule, torch.cat(frames), 0, None))
    assert asked == [True, False, True, False, False, True]
    flow = FarnebackFlow()(torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96))
    assert flow.field.shape == (1, 2, 32, 48) and flow.context is None


def commands() -> Iterator[tuple[str, list[str]]]:
    """(Page, words) of each command in a bash block, and in the comments of the configs."""
    for page in PAGES:
        for more, block in fences(page, "bash"):
            if "(excerpt)" not in more:
                yield from ((name_of(page), words) for words in split(block))
    for config in CONFIGS:
        comments = re.findall(r"^#   (dff .*)$", config.read_text(), re.M)
        yield from ((name_of(config), words) for words in split("\n".join(comments)))


def split(block: str) -> Iterator[list[str]]:
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


def our_commands() -> list:
    """Those of `dff VERB`, behind variables or `python -m`, and of `scripts/X.py`."""
    found, seen = [], set()
    for page, words in commands():
        before = re.match(r"(\w+=\S* |python -m )*dff ", " ".join(words))
        at = before[0].count(" ") - 1 if before else None
        at = next((i for i, word in enumerate(words) if word.startswith("scripts/")), at)
        if at is not None and tuple(words[at:]) not in seen:
            seen.add(tuple(words[at:]))
            found.append(pytest.param(words[at], words[at + 1 :], id=f"{page}-{len(found)}"))
    return found


class Parsed(Exception):
    """The command line was parsed, and nothing else was done."""


@pytest.fixture
def parse(monkeypatch):
    """Starts a command, up to the end of its parsing: parse("dff", ["predict", ...])."""
    depth = 0

    def stopping(original):
        def parse_args(self, *args, **kwargs):
            nonlocal depth
            depth += 1  # a parser asks those of its subcommands
            try:
                parsed = original(self, *args, **kwargs)
            finally:
                depth -= 1
            if not depth:
                raise Parsed
            return parsed

        return parse_args

    def parse(script, words):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [script, *words])
        if words[:1] == ["reproduce"]:  # hands what it does not know to fit
            from dff.commands import reproduce
            from dff.lit.reproduction.reproduce import read_settings

            args, flags, flow_flags = reproduce.parse(words[1:])
            read_settings(args.config, flags, "LitDFF")
            if args.flow_config:
                read_settings(args.flow_config, flow_flags, "LitFlow")
            return
        for kind in (argparse.ArgumentParser, jsonargparse.ArgumentParser):
            monkeypatch.setattr(kind, "parse_args", stopping(kind.parse_args))
        with pytest.raises(Parsed):
            if script == "dff":
                main()
            else:
                runpy.run_path(str(ROOT / script), run_name="__main__")

    return parse


@pytest.mark.parametrize(("script", "words"), our_commands())
def test_command_lines_parse(script, words, parse):
    try:
        parse(script, words)
    except SystemExit as stop:
        pytest.fail(f"{script} ends with {stop.code}")


def test_a_wrong_command_line_does_not_parse(parse):
    with pytest.raises(SystemExit):
        parse("scripts/fit.py", ["--data.rooot", "DIR"])
    with pytest.raises(SystemExit):
        parse("dff", ["predict", "MODEL", "video.mp4", "--no_such_option"])
    with pytest.raises(SystemExit):
        parse("dff", ["no-such-verb"])


@pytest.mark.parametrize(
    ("page", "script"),
    [
        ("predict.md", "predict.py"),
        ("speed.md", "benchmark.py"),
        ("reproduce.md", "reproduce.py"),
        ("export.md", "export.py"),
    ],
)
def test_each_option_of_a_table_is_one_of_the_script(page, script):
    source = (ROOT / "dff/commands" / script).read_text()
    if "add_schedule(" in source:  # which several verbs share
        source += (ROOT / "dff/commands/schedules/flags.py").read_text()
    known = set(re.findall(r'"(--\w+)"', source))
    (rows,) = re.findall(
        r"^\| option .*\n((?:\|.*\n)+)", (DOCS / "guides" / page).read_text(), re.M
    )
    cells = [row.split("|")[1] for row in rows.splitlines()[1:]]
    named = {option for cell in cells for option in re.findall(r"--\w+", cell)}
    assert named and named <= known, named - known


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {words[1] for _, words in commands() if words[0] == "make"}
    named |= {t for p in PAGES for t in re.findall(r"`make ([\w-]+)`", p.read_text())}
    assert {"demo", "test", "check", "docs"} <= named <= targets


def slug(heading: str) -> str:
    """Anchor of a heading, as the site and code hosts make it."""
    text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    text = FENCE.sub("", page.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@functools.cache
def symbols(file: Path) -> set[str]:
    """Names that a file defines, those of a class as Class.name."""
    found = set()

    def collect(body, prefix):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    collect(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", 0)]
            found.update(prefix + t.id for t in targets if isinstance(t, ast.Name))

    collect(ast.parse(file.read_text()).body, "")
    return found


def test_each_reference_of_the_paper_exists():
    """`file:symbol`, `file::test`, and `::test` or a name, which belong to the file before."""
    count, file = 0, None
    for line in (DOCS / "paper.md").read_text().splitlines():
        cells = line.split(" | ") if line.startswith("|") else ["", line]
        for section, cell in enumerate(cells):
            for word in re.findall(r"`([^`]+)`", cell) if section else []:
                match = re.match(r"([\w/]+\.(?:py|yaml|md))(::?[\w.]+)?(?: --\w.*)?$", word)
                if match:
                    path, name = match.groups()
                    places = [ROOT / "dff", ROOT / "tests", ROOT, FOLDER]
                    found = [place / path for place in places if (place / path).is_file()]
                    assert found, f"no file {path}: {line}"
                    file, count = found[0], count + 1
                elif word.startswith("::"):
                    name = word
                else:
                    # beside a symbol: another one of the same file, or a setting that it takes
                    if section == 1 and file and file.suffix == ".py" and word.isidentifier():
                        assert re.search(rf"\b{word}\b", file.read_text()), f"{word}: {line}"
                    continue
                if name:
                    assert name.lstrip(":") in symbols(file), f"{name} in {file}: {line}"
                    count += 1
    assert count > 300


def test_quoted_messages_are_those_of_the_code():
    strings = set()
    for file in [*(ROOT / "dff").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.add(node.value)
    text = (DOCS / "guides" / "troubleshooting.md").read_text()
    quoted = []
    for table in re.findall(r"^\| message.*\n\|.*\n((?:\|.*\n)+)", text, re.M):
        cells = [row.split("|")[1].strip() for row in table.splitlines()]
        quoted += [part for c in cells if c.startswith("`") for part in re.findall(r"`(.+?)`", c)]
    assert len(quoted) > 10
    missing = [part for part in quoted if not any(part in string for string in strings)]
    assert not missing


def test_the_page_of_settings_names_each_config():
    text = (DOCS / "guides" / "settings.md").read_text()
    assert [name for name in configs.names() if f"`{name}`" not in text] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_moving_picture_is_drawn_by_its_script(tmp_path, monkeypatch, capsys):
    import cv2

    file = tmp_path / "new" / "small.webp"
    words = [str(file), "--frames", "3", "--key_duration", "2", "--quality", "101"]
    monkeypatch.setattr(sys, "argv", ["draw_animation.py", *words])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "draw_animation.py"), run_name="__main__")
    assert not stop.value.code and "3 frames" in capsys.readouterr().out
    read, animation = cv2.imreadanimation(str(file))
    left, right = slice(0, 384), slice(-384, None)
    same = [bool((a[30:, left] == a[30:, right]).all()) for a in animation.frames]
    assert read and same == [True, False, True]  # the flow moves labels between key frames
