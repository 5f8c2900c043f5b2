"""What the pages say holds: links lead somewhere, and a newcomer's first page works as it is typed."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest
from dvc.cli.parser import get_main_parser
from ruamel.yaml import YAML

from docs import draw_house
from recast.pipeline.cli.arguments import parse
from recast.pipeline.planning.make_plan import make_plan
from tests.lib.copied import copy_files
from tests.lib.pages import anchors, blocks, links, named, pages, prose, typed
from tests.lib.repository import ROOT, call, copy_repository

START = ROOT / "docs/start.md"
ROW = re.compile(r"^ (onnxruntime|akida) +([\d.]+) % +([\d.]+) % +([\d.]+) % ", re.MULTILINE)


def test_a_page_is_taken_apart() -> None:
    page = "# A `b` c: d\n\n[e](f.md#g) `[h](i)`\n\nPut it into `j/k.py`:\n\n```python\n[l](m)\n```\n\n## A b c d\n"
    assert anchors(page) == {"a-b-c-d", "a-b-c-d-1"} and links(page) == ["f.md#g"]
    (block,) = blocks(page)
    assert (block.language, block.text, block.into) == ("python", "[l](m)\n", "j/k.py")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in links(text):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists() and there.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_those_that_there_are(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed is understood to its last word; what a sentence names has verbs and options that there are."""
    # DVC's parser, as it is made, looks for its own first options there
    monkeypatch.setattr(sys, "argv", ["dvc"])
    text = page.read_text(encoding="utf-8")
    for command in typed(text):
        if not re.search(r"[…\[|]", command):  # which stand for what the reader puts there
            assert understood(shlex.split(command, comments=True)) == "", command
    for command in typed(text, "dvc"):
        if not re.search(r"[…\[|]", command):
            _, unknown = get_main_parser().parse_known_args(shlex.split(command.partition(" && ")[0], comments=True))
            assert not unknown, command
    for command in named(text):
        verb, *rest = command.split()
        shown = help_of(verb)
        assert shown, command
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", " ".join(rest)):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown), command


def understood(arguments: list[str]) -> str:
    """Empty, or what the command line says against the arguments."""
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            parse(arguments, defaultdict(lambda: print), print)
        except SystemExit as ended:
            return said.getvalue() if ended.code else ""
    return ""


@cache
def help_of(verb: str) -> str:
    """What `recast VERB --help` prints; empty if there is no such verb. Of `env`, of what stands below it as well."""
    text = io.StringIO()
    below = [["lock"], ["list"], ["build"], ["prune"], ["device"]] if verb == "env" else []
    for arguments in ([verb, "--help"], *([verb, *one, "--help"] for one in below)):
        with redirect_stdout(text), redirect_stderr(io.StringIO()), suppress(SystemExit):
            parse(arguments, defaultdict(lambda: print), print)
    return text.getvalue()


def test_every_picture_is_drawn_by_its_script() -> None:
    """The house of folders is the only one, and stands as the script draws it; no page shows a file of an image."""
    for name in draw_house.PAGES:
        assert draw_house.BEGIN.partition(":")[0] in (ROOT / name).read_text(encoding="utf-8")
    assert draw_house.main(["--check"]) == 0
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [name for name in listed.split("\0") if re.search(r"\.(png|svg|jpe?g|gif|webp|drawio)$", name)]
    for page in pages():
        assert not re.search(r"!\[[^\]]*\]\(|<img\b", prose(re.sub(r"`[^`\n]*`", "", page_of(page)))), page


TUTORIALS = {
    "pytorch_to_akida": ["mnist_akida"],
    "webassembly": ["cifar_wasm", "cifar_wasm_int8"],
    "ezkl_proof": ["mnist_mlp_ezkl"],
    "cairo": ["mnist_mlp_cairo"],
    "zml": ["lenet_zml", "mnist_zml"],
}
"""tutorial -> the recipes it has its reader run, the first of which it shows"""


def test_there_is_a_tutorial_for_each_of_the_five() -> None:
    assert {path.stem for path in ROOT.glob("docs/tutorials/*.md")} == set(TUTORIALS)


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_shows_its_recipe_as_it_is_and_its_figures(name: str) -> None:
    text = (ROOT / f"docs/tutorials/{name}.md").read_text(encoding="utf-8")
    shown = next(block.text for block in blocks(text) if block.language == "yaml")
    read = YAML(typ="safe").load
    assert read(shown) == read((ROOT / f"recipes/{TUTORIALS[name][0]}.yaml").read_text(encoding="utf-8"))
    assert [command for command in typed(text) if command.startswith("run ")] == [f"run {it}" for it in TUTORIALS[name]]
    for recipe in TUTORIALS[name]:
        assert f"{recipe}: what came out" in text
        for target in make_plan(ROOT, [recipe]).recipes[recipe].targets:
            assert re.search(rf"^ {target} .* %  .*  artifacts/{recipe}/{target}/emit/", text, re.M), (recipe, target)


def test_the_first_page_can_be_read_in_a_quarter_of_an_hour() -> None:
    text = START.read_text(encoding="utf-8")
    assert len(text.split()) < 1800 and len(prose(text).split()) > 500


def type_in(page: Path, place: Path, **variables: str) -> str:
    """What a page has its reader type, in one shell: each block in turn, and where a file is to be written, that file.

    What the commands print.
    """
    script = ["set -eu"]
    for number, block in enumerate(blocks(page.read_text(encoding="utf-8"))):
        if block.into:
            text = place.parent / f"{page.stem} {number}"
            text.write_text(block.text, encoding="utf-8")
            script.append(f'mkdir -p "$(dirname {block.into})"; cp "{text}" {block.into}')
        elif block.language == "sh":
            script.append(block.text)
        else:
            script += [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=place,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written_by(page: Path) -> set[str]:
    """The files that a page has its reader write."""
    return {block.into for block in blocks(page.read_text(encoding="utf-8")) if block.into}


@pytest.mark.slow
def test_the_first_page_works_as_it_is_typed(tmp_path: Path) -> None:
    place = tmp_path / "here"
    copy_files(place / "recast")
    files = {"models/shapes_cnn.py", "samples/shapes.py", "recipes/shapes.yaml", "recipes/shapes_wide.yaml"}
    assert written_by(START) == files
    said = type_in(START, place, PIP_DISABLE_PIP_VERSION_CHECK="1")
    project = place / "shapes"
    # the figures that the page shows; another kind of processor may end elsewhere in training
    shown, reached = (
        {row[0]: [float(one) for one in row[1:]] for row in ROW.findall(text)} for text in (page_of(START), said)
    )
    assert set(shown) == {"onnxruntime", "akida"} <= set(reached)
    for target, figures in shown.items():
        assert reached[target] == pytest.approx(figures, abs=4)
        emitted = project / f"artifacts/shapes/{target}/emit"
        assert (emitted / "README.md").is_file() and (emitted / "input.json").is_file()
    mapping = page_of(project / "artifacts/shapes/akida/emit/README.md")
    assert "| hardware |" in mapping and "| software |" not in mapping
    assert (project / "report.html").is_file()
    left, committed = (
        subprocess.run(["git", *asked], cwd=project, capture_output=True, text=True, check=True).stdout
        for asked in (["status", "--short"], ["ls-files"])
    )
    assert not left and files | {"dvc.lock", "recast.lock"} <= set(committed.splitlines())
    assert not {"report.html", "device.txt"} & set(committed.splitlines())
    assert "shapes/data: up to date" in said or "stages up to date" in said
    shutil.rmtree(place / "recast-venv")


@pytest.mark.slow
def test_the_page_on_data_from_a_file_works_as_it_is_typed(tmp_path: Path) -> None:
    page, place = ROOT / "docs/own_data.md", tmp_path / "clone"
    place.mkdir()
    copy_repository(place)
    assert written_by(page) == {"models/points_mlp.py", "make_points.py", "recipes/points.yaml"}
    said = type_in(page, place, PATH=f"{place}/.venv/bin:{os.environ['PATH']}")
    assert "recipes/points.yaml: sound; 8 stages; targets: onnxruntime" in said and "points: what came out" in said
    emitted = place / "artifacts/points/onnxruntime/emit"
    assert {"model.onnx", "input.json", "README.md"} <= {path.name for path in emitted.iterdir()}
    # the mistake that it shows
    recipe = place / "recipes/points.yaml"
    recipe.write_text(page_of(recipe).replace("epochs: 20", "epochs: many"))
    refused = call(place, "./recast", "check", "points", check=False)
    assert refused.returncode == 2 and refused.stderr.strip() in page_of(page)


def page_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")
