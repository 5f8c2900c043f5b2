"""The site of the documentation: its reference says what the code does, and it needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.site import build, reference
from recast.pipeline.core.errors import RecastError
from recast.pipeline.processes import environments
from recast.stages.registry import REGISTRY, load
from tests.lib.copied import ROOT
from tests.lib.wasm.browser import chromium

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""element -> the attribute that has a browser load something"""


class Loads(HTMLParser):
    """What a page of the site loads, where its links lead, and what can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given["id"]} if "id" in given else set()
        if found := given.get(LOADS.get(tag, "")):
            self.loaded.append(found)
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])


def test_the_reference_has_every_verb_and_every_param() -> None:
    pages = reference.pages()
    assert {"run", "blame", "serve", "prove", "merge-lock"} <= set(
        re.findall(r"^### (\S+)$", pages["commands.md"], re.M)
    )
    assert "usage: recast run " in pages["commands.md"] and "--keep-going" in pages["commands.md"]
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", pages["params.md"], re.M | re.S))
    assert set(sections) == set(REGISTRY)
    for name, section in sections.items():
        listed = set(re.findall(r"^\| `(\w+)` \|", section, re.M))
        assert listed == set(load(name).params.model_fields) - reference.ELSEWHERE, name


def test_the_reference_has_messages_with_their_remedies() -> None:
    text = reference.pages()["messages.md"]
    assert len(re.findall(r"^\| (?!what|-).* \| .+ \|$", text, re.M)) > 500
    said = "an input and an output of … are both called '…' | name the outputs otherwise in export.output_names"
    assert f"| {said} |" in text


def test_a_text_of_the_code_stands_in_a_cell_as_it_is() -> None:
    assert reference.plain("a | b `c|d[e]` <f> g[h]") == "a \\| b `c\\|d[e]` \\<f\\> g\\[h\\]"
    assert reference.plain("an odd ` one") == "an odd \\` one"


def test_every_page_has_a_place_in_the_order_of_learning() -> None:
    nav = (ROOT / "docs/site/nav.md").read_text(encoding="utf-8")
    placed = re.findall(r"^(\w[\w/*]*)$", nav, re.M)
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.glob("docs/**/*.md")}
    pages -= {"docs/site/nav"}
    assert {name for name in placed if name.startswith("docs/") and "/reference/" not in name} == pages
    assert placed[:2] == ["docs/start", "docs/targets"] and len(placed) == len(set(placed))


def test_its_environment_is_one_of_a_clone_alone(tmp_path: Path) -> None:
    assert "docs" in environments.names(ROOT) and "docs" not in environments.names(tmp_path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site that was built."""
    return build.build(tmp_path_factory.mktemp("site")).parent


@pytest.mark.slow
def test_links_resolve_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    read = {path: Loads(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    names = {path.relative_to(site).as_posix() for path in read}
    assert {"index.html", "docs/start.html", "docs/targets/akida.html", "docs/reference/params.html"} <= names
    assert {"docs/tutorials/pytorch_to_akida.html", "examples/regression/README.html"} <= names
    followed = 0
    for page, found in read.items():
        for to in (*found.loaded, *found.links):
            if re.match(r"https?://|//", to):
                assert to in found.links, f"{page} loads {to}"
                continue
            name, _, anchor = to.partition("#")
            there = (page.parent / name.partition("?")[0]).resolve() if name else page
            assert there.exists(), f"{page}: {to}"
            assert not anchor or there not in read or anchor in read[there].ids, f"{page}: {to}"
            followed += 1
    assert followed > 1000
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_a_network(site: Path, scheme: str, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as page:
        page.screenshot(tmp_path / "blank.png", 390, 844, scheme)
        for name in ("index", "docs/start", "docs/recipes", "docs/targets/ezkl", "docs/reference/messages"):
            page.open(site / f"{name}.html")
            assert page.js("document.documentElement.scrollWidth") <= 390, name
            assert page.js("document.querySelector('h1').innerText.length") > 3
            dark = page.js("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part < 60)")
            assert dark == (scheme == "dark"), name
        page.open(f"{(site / 'search.html').as_uri()}?q=calibrate")
        page.wait("document.querySelectorAll('#search-results li a').length > 2")
        assert page.console == []


@pytest.mark.slow
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two(place: Path) -> None:
        place.mkdir(parents=True)
        (place / "README.md").write_text("# One\n\n[two](two.md#b)\n\n```{toctree}\ntwo\n```\n")
        (place / "two.md").write_text("# Two\n\n## A\n\n[one](one.md)\n")

    monkeypatch.setattr(build, "lay_pages", two)
    with pytest.raises(RecastError) as refused:
        build.build(tmp_path / "site")
    assert "README.md:3" in str(refused.value) and "two.md:5" in str(refused.value)
    assert "one.md" in str(refused.value)
