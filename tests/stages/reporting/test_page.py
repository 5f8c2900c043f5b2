# environment: report
"""The page of `recast report`: what it says, what stays text, and how it behaves in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tarfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recast.stages.base import StageError
from recast.stages.reporting import page
from tests.lib.reported import MARKUP, job
from tests.lib.wasm.browser import Page, chromium, program

AXE = "axe-core@4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
"""as npm's registry states it"""
WIDTHS = (390, 800, 1600)


class Elements(HTMLParser):
    """Elements of a page, and the text in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self._open = tag
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self._open not in ("script", "style"):
            self.text.append(data)


def without_vega(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundling takes seconds, and is no matter of what a page says."""
    monkeypatch.setattr(page, "vega_code", lambda cache: "/* vega */")


@pytest.fixture
def html(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    without_vega(monkeypatch)
    page.main(job(tmp_path, tmp_path / "report.html"))
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_names_and_values_from_recipes_and_data_stay_text(html: str, tmp_path: Path, monkeypatch: Any) -> None:
    without_vega(monkeypatch)
    plain = tmp_path / "plain"
    plain.mkdir()
    given = json.loads(
        json.dumps(job(plain, plain / "report.html", classes=("bright", "dark"))).replace(
            json.dumps(MARKUP)[1:-1], "harmless"
        )
    )
    for path in plain.rglob("*.csv"):
        path.write_text(path.read_text().replace(MARKUP.replace('"', '""'), "harmless"))
    page.main(given)
    marked, harmless = Elements(html), Elements((plain / "report.html").read_text(encoding="utf-8"))
    assert marked.tags == harmless.tags
    assert not any(name.startswith("on") for _, name, _ in marked.attributes)
    assert "".join(marked.text).count(MARKUP) >= 10


def test_nothing_is_fetched_and_the_page_forbids_it(html: str) -> None:
    found = Elements(html)
    for tag, name, value in found.attributes:
        if name in ("src", "srcset", "data", "action", "poster") or (name == "href" and tag == "link"):
            assert value.startswith("data:"), (tag, name, value)
    (policy,) = [value for tag, name, value in found.attributes if tag == "meta" and "default-src" in value]
    assert "default-src 'none'" in policy and "connect-src" not in policy


def test_what_failed_and_what_never_ran_is_said_to_be_so(html: str) -> None:
    text = " ".join("".join(Elements(html).text).split())
    assert "1 of 3 targets verified; bad" in text
    assert f"It failed: {MARKUP}" in text
    assert "Not run: there is nothing to show yet." in text
    assert "met: 0.925, by 0.025" in text and "not measured" in text
    assert "500 runs after 10 to warm up" in text and "1 thread, A CPU" in text
    assert Elements(html).text.count("verified") == 2  # once in the table and once on the target's card


def test_the_worst_mistakes_come_first(tmp_path: Path) -> None:
    from recast.stages.reporting import answers

    given = job(tmp_path, tmp_path / "report.html")
    found = answers.gather(tmp_path, given["recipes"][0]["targets"])
    assert found is not None and found.models == (answers.FLOAT, "good") and found.of == 40
    right = [sample.answers["good"].right for sample in found.samples]
    assert right[:3] == [False] * 3 and all(right[3:]) and len(right) == answers.SHOWN
    assert {sample.number for sample in found.samples[:3]} == {0, 1, 2}
    assert all(sample.image.startswith("data:image/png;base64,") for sample in found.samples)
    assert found.samples[0].truth != found.samples[0].answers["good"].text


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_vega(monkeypatch)
    given = job(tmp_path, tmp_path / "report.html")
    (tmp_path / "artifacts/shapes/good/verify/parity.json").write_text("{")
    with pytest.raises(StageError, match=r"cannot read .*parity\.json"):
        page.main(given)
    (tmp_path / "artifacts/shapes/good/verify/answers.npz").write_bytes(b"no zip")
    with pytest.raises(StageError, match=r"cannot read artifacts/shapes/good/verify/answers\.npz"):
        page.main(given)
    assert not (tmp_path / "report.html").exists()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    given = job(root, root / "report.html")
    (root / "job.json").write_text(json.dumps(given))
    page.main(given)
    return root / "report.html"


@pytest.fixture(scope="module")
def tab(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


def look(tab: Page, written: Path, width: int, scheme: str) -> None:
    """Load the page in that width and colour scheme, and wait until it is drawn."""
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    tab.open(written)
    tab.wait("document.documentElement.dataset.drawn && !!document.querySelector('.model .answer')")


@pytest.mark.slow
def test_dvcs_own_plots_are_drawn_without_a_network(tab: Page, written: Path, tmp_path: Path) -> None:
    given = {**json.loads((written.parent / "job.json").read_text()), "out": str(tmp_path / "report.html")}
    page.main({**given, "dvc_plots": str(tmp_path / "template.html")})
    template = (tmp_path / "template.html").read_text(encoding="utf-8")
    assert template.count("{plot_divs}") == 1
    assert not [value for _, name, value in Elements(template).attributes if name in ("src", "href")]
    # as DVC fills it: a script that runs at once
    spec = {"data": {"values": [{"x": 1}]}, "mark": "bar", "encoding": {"x": {"field": "x", "type": "nominal"}}}
    chart = f"<div id='plot'><script>var spec = {json.dumps(spec)}; vegaEmbed('#plot', spec);</script></div>"
    (tmp_path / "index.html").write_text(template.replace("{plot_divs}", chart), encoding="utf-8")
    tab.open(tmp_path / "index.html")
    tab.wait("document.querySelectorAll('#plot canvas, #plot svg').length > 0")
    assert tab.console == []


@pytest.mark.slow
def test_every_chart_is_drawn_and_the_console_stays_empty(tab: Page, written: Path) -> None:
    look(tab, written, 1280, "light")
    drawn = "[...document.querySelectorAll('[data-chart]')].map(each => each.querySelectorAll('svg path').length > 1)"
    assert tab.js(drawn) == [True, True, True]
    assert tab.js("document.title") == "shapes: results"
    assert tab.console == []


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overlaps_or_is_cut_off(tab: Page, written: Path, width: int, scheme: str) -> None:
    look(tab, written, width, scheme)
    tab.js("document.querySelectorAll('details').forEach(each => (each.open = true))")
    assert tab.js("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    overlapping = """(() => {
      const texts = 'h1, h2, h3, h4, p, dt, dd, td, th, figcaption, button, .badge, .stage, summary, li > span';
      const leaves = [...document.querySelectorAll(texts)]
        .filter(one => one.getClientRects().length && !one.closest('thead') && !one.closest('.skip'));
      const found = [];
      for (let i = 0; i < leaves.length; i++) for (let j = i + 1; j < leaves.length; j++) {
        const [a, b] = [leaves[i], leaves[j]];
        if (a.contains(b) || b.contains(a)) continue;
        if (a.closest('.picks') || b.closest('.picks') || a.closest('.scroll') !== b.closest('.scroll')) continue;
        const [p, q] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
        const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
        const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
        if (wide > 1 && high > 1) found.push([a.outerHTML.slice(0, 80), b.outerHTML.slice(0, 80)]);
      }
      return found.slice(0, 5);
    })()"""
    assert tab.js(overlapping) == []
    cut = """[...document.querySelectorAll('main *')].filter(one => {
      // a stage's arrow stands in the gap behind it
      if (one.closest('.scroll, .picks, svg, .plot') || one.matches('.stage')) return false;
      if (!one.getClientRects().length) return false;
      return one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline' && one.clientWidth > 0;
    }).map(one => one.outerHTML.slice(0, 120)).slice(0, 5)"""
    assert tab.js(cut) == []


@pytest.mark.slow
def test_the_model_runs_in_the_page(tab: Page, written: Path, tmp_path: Path) -> None:
    look(tab, written, 1280, "light")
    picked = "document.querySelector('.picks [aria-pressed=true]').getAttribute('aria-label')"
    assert tab.js(picked).startswith("Sample ")
    said = "document.querySelector('.model .answer').textContent"
    before = tab.js(said)
    recorded = "[...document.querySelectorAll('.recorded dd')].map(each => each.textContent)"
    true, *answers = tab.js(recorded)
    assert {*answers} == {before} and true != before  # the worst mistakes come first
    # by keyboard alone
    tab.js("[...document.querySelectorAll('.picks button')].at(-1).focus()")
    for kind in ("keyDown", "keyUp"):
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        tab.call("Input.dispatchKeyEvent", type=kind, **enter)
    assert tab.js("document.querySelectorAll('.picks button')[23].getAttribute('aria-pressed')") == "true"
    true, *answers = tab.js(recorded)
    assert {true, *answers} == {tab.js(said)}
    # an image of one's own: all white, so the first value is the largest
    from PIL import Image

    for name, colour, expected in (("white", 255, "bright"), ("black", 0, MARKUP)):
        Image.new("L", (30, 20), colour).save(tmp_path / f"{name}.png")
        tab.choose(".drop input", tmp_path / f"{name}.png")
        tab.wait(f"{said} === {json.dumps(expected)} && !document.querySelector('.recorded')")
    (tmp_path / "text.png").write_text("no image")
    tab.choose(".drop input", tmp_path / "text.png")
    assert "cannot be read as an image" in tab.wait("document.querySelector('.trouble').textContent")
    assert tab.console == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core, which finds what a screen reader, a keyboard or a weak eye stumbles over."""
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        [program("npm"), "pack", AXE, "--silent", "--ignore-scripts"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == AXE_SHA512
    with tarfile.open(archive) as packed:
        content = packed.extractfile("package/axe.min.js")
        assert content is not None
        return content.read().decode("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(tab: Page, written: Path, axe: str, scheme: str) -> None:
    look(tab, written, 1280, scheme)
    tab.js("document.querySelectorAll('details').forEach(each => (each.open = true))")
    tab.js(f"{axe}; 0")
    found = tab.js(
        "axe.run(document, {resultTypes: ['violations']}).then(done => done.violations.map("
        "one => [one.id, one.help, one.nodes.slice(0, 3).map(node => node.html.slice(0, 160))]))"
    )
    assert found == []
    assert tab.js("[...document.querySelectorAll('h1, main, nav, header, footer')].length") == 5
