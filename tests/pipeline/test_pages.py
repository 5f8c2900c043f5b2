"""What the pages say holds: links lead somewhere, and a newcomer's first page works as it is typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lib.copied import ROOT, copy_files
from tests.lib.pages import anchors, blocks, links, pages, prose

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


def test_the_first_page_can_be_read_in_a_quarter_of_an_hour() -> None:
    text = START.read_text(encoding="utf-8")
    assert len(text.split()) < 1800 and len(prose(text).split()) > 500


@pytest.mark.slow
def test_the_first_page_works_as_it_is_typed(tmp_path: Path) -> None:
    """In one shell, as a newcomer has it: each block in turn, and where a file is to be written, that file."""
    copy_files(tmp_path / "recast")
    page = START.read_text(encoding="utf-8")
    script = ["set -eu"]
    for number, block in enumerate(blocks(page)):
        if block.into:
            text = tmp_path / f"block {number}"
            text.write_text(block.text, encoding="utf-8")
            script.append(f'mkdir -p "$(dirname {block.into})"; cp "{text}" {block.into}')
        elif block.language == "sh":
            script.append(block.text)
    assert sum(block.language == "sh" for block in blocks(page)) > 4 and len(script) > 8
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    said = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    project = tmp_path / "shapes"
    # the figures that the page shows; another kind of processor may end elsewhere in training
    shown = {row[0]: [float(figure) for figure in row[1:]] for row in ROW.findall(page)}
    reached = {row[0]: [float(figure) for figure in row[1:]] for row in ROW.findall(said.stdout)}
    assert set(shown) == {"onnxruntime", "akida"} <= set(reached)
    for target, figures in shown.items():
        assert reached[target] == pytest.approx(figures, abs=4)
        emitted = project / f"artifacts/shapes/{target}/emit"
        assert (emitted / "README.md").is_file() and (emitted / "input.json").is_file()
    mapping = (project / "artifacts/shapes/akida/emit/README.md").read_text(encoding="utf-8")
    assert "| hardware |" in mapping and "| software |" not in mapping
    assert (project / "report.html").is_file()
    left = subprocess.run(["git", "status", "--short"], cwd=project, capture_output=True, text=True, check=True).stdout
    committed = subprocess.run(["git", "ls-files"], cwd=project, capture_output=True, text=True, check=True).stdout
    assert not left and {"dvc.lock", "recast.lock", "recipes/shapes.yaml"} <= set(committed.splitlines())
    assert not {"report.html", "device.txt"} & set(committed.splitlines())
    assert "shapes/data" in said.stdout and "up to date" in said.stdout
    shutil.rmtree(tmp_path / "recast-venv")
