"""Draw the page: `python -m recast.stages.reporting.page` reads what the runner knows as JSON, and writes one file.

Nothing in the page is fetched: what it draws with, the samples and the models are inside, and its content security
policy forbids the network. Names and values from recipes and data are text everywhere: the template escapes them, and
scripts set them as text.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from recast.stages.base import StageError
from recast.stages.reporting import answers, charts, next_steps, observed, words

TEMPLATES = Path(__file__).resolve().parent / "templates"
_BUNDLE = "globalThis.vegaEmbed = vegaEmbed;"
"""what is bundled: the one function by which charts are drawn, with all it needs"""


def main(job: Mapping[str, Any]) -> None:
    """Write the page that the job asks for. Raises StageError for a file that cannot be read."""
    root = Path(job["root"])
    if job.get("dvc_plots"):
        _write_dvc_template(Path(job["dvc_plots"]), vega_code(Path(job["cache"])))
    drawn = Drawn()
    recipes = [_recipe(root, recipe, drawn) for recipe in job["recipes"]]
    models, scripts = _models(root, job["recipes"])
    playgrounds = _playgrounds(models, recipes)
    text = (
        _environment()
        .get_template("report.html")
        .render(
            about=job["about"],
            prefix=quote(job["prefix"]),
            recipes=recipes,
            compared=job["compared"],
            environments=job["environments"],
            playgrounds=playgrounds,
            embedded={"charts": drawn.specs, "models": models, "playgrounds": playgrounds},
            clients=[{"key": key, "code": code} for key, code in scripts.items()],
            vega=vega_code(Path(job["cache"])) if drawn.specs else "",
            **{name: (TEMPLATES / file).read_text(encoding="utf-8") for name, file in _PARTS.items()},
        )
    )
    Path(job["out"]).write_text(text, encoding="utf-8")


_PARTS = {"style": "report.css", "draw": "report.js", "try_out": "playground.js"}


class Drawn:
    """The charts of a page, each with a key."""

    def __init__(self) -> None:
        self.specs: dict[str, charts.Spec] = {}

    def add(self, title: str, made: tuple[charts.Spec, str] | None, note: str = "") -> dict[str, str] | None:
        """What the template says of the chart; None where nothing was drawn."""
        if made is None:
            return None
        spec, told = made
        key = f"chart-{len(self.specs)}"
        self.specs[key] = spec
        return {"key": key, "title": title, "told": told, "note": note}


def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(words.FILTERS)
    return made


def _recipe(root: Path, recipe: Mapping[str, Any], drawn: Drawn) -> dict[str, Any]:
    """The facts of a recipe with its charts and samples."""
    trunk: list[Any] = []
    of_targets: list[Any] = []
    by_id = {stage["id"]: stage for stage in recipe["stages"]}
    for stage in recipe["stages"]:
        for drawing in stage["drawings"]:
            title = f"{stage['target']}: {drawing['title']}" if stage["target"] else drawing["title"]
            note = "" if stage["state"] == "up to date" else f"of a result that is {stage['state']}"
            made = charts.draw(drawing, _read(root / drawing["path"], charts.table))
            one = drawn.add(title, made, note)
            if one and stage["target"]:
                of_targets.append((drawing["template"], one))
            elif one:
                trunk.append(one)
    # charts of one kind side by side
    of_targets.sort(key=lambda one: one[0])
    found = []
    for target in recipe["targets"]:
        made_of = observed.ranges(root, target["directories"])
        if made_of:
            found.append(drawn.add(f"{target['name']}: ranges of values, before and after calibration", made_of))
    samples = answers.gather(root, recipe["targets"])
    return {
        **recipe,
        "trunk": [stage for stage in recipe["stages"] if not stage["target"]],
        "branches": [
            {"name": target["name"], "stages": [by_id[id] for id in target["stages"]]} for target in recipe["targets"]
        ],
        "curves": trunk,
        "charts": [one for _, one in of_targets],
        "ranges": [one for one in found if one],
        "parity": [_parity(root, target) for target in recipe["targets"] if target["parity"]],
        "samples": None if samples is None else asdict(samples),
        "verified": sum(target["verified"] for target in recipe["targets"]),
        "next": list(next_steps.steps(recipe)),
    }


def _parity(root: Path, target: Mapping[str, Any]) -> dict[str, Any]:
    """How each form of a target's model compares with the one before: the rows of a table."""
    report = _read(root / target["parity"], lambda path: json.loads(path.read_text(encoding="utf-8")))
    return {
        "target": target["name"],
        "conversions": report.get("conversions", []),
        "unexplained": report.get("unexplained", []),
        "cpu": report.get("cpu", ""),
        "forms": [
            {"runs": runs, "names": ", ".join(name for name, _ in names)}
            for runs, names in groupby(report.get("forms", {}).items(), key=lambda item: item[1])
        ],
    }


def _read(path: Path, how: Any) -> Any:
    try:
        return how(path)
    except (OSError, ValueError, KeyError) as error:
        raise StageError(f"cannot read {path}: {error}", "run the recipe again") from error


def _models(root: Path, recipes: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Every emitted model that runs in a browser, and the code that runs it, by a key for each kind of client."""
    models: list[dict[str, Any]] = []
    scripts: dict[str, str] = {}
    keys: dict[tuple[str, ...], str] = {}
    for recipe in recipes:
        for target in recipe["targets"]:
            client = target["browser"]
            if not client:
                continue
            key = keys.setdefault(tuple(client["scripts"]), f"client-{len(keys)}")
            scripts[key] = "\n".join(Path(path).read_text(encoding="utf-8") for path in client["scripts"])
            folder = root / client["folder"]
            contract = _read(folder / "input.json", lambda path: json.loads(path.read_text(encoding="utf-8")))
            if len(contract["inputs"]) != 1:
                continue  # a sample of several inputs is nothing to pick or drop here
            module = _read(folder / client["module"], Path.read_bytes)
            models.append(
                {
                    "recipe": recipe["name"],
                    "target": target["name"],
                    "title": f"{recipe['name']}/{target['name']}",
                    "scheme": observed.scheme(folder),
                    "state": target["state"],
                    "verified": target["verified"],
                    "client": key,
                    "data": target["directories"].get("data", ""),
                    "size": len(module),
                    "contract": contract,
                    "module": base64.b64encode(module).decode("ascii"),
                }
            )
    return models, scripts


def _playgrounds(models: Sequence[Mapping[str, Any]], recipes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One for each data set that models in the page read: their places in `models`, and samples to pick from."""
    found: dict[str, dict[str, Any]] = {}
    samples = {recipe["name"]: recipe["samples"] for recipe in recipes}
    for index, model in enumerate(models):
        place = found.setdefault(
            model["data"],
            {"models": [], "samples": [], "title": model["contract"]["dataset"], "recipe": model["recipe"]},
        )
        place["models"].append(index)
        given = samples[model["recipe"]]
        if not place["samples"] and given:
            place["samples"] = [
                {key: sample[key] for key in ("number", "truth", "image", "values", "stored")}
                | {"answers": [{"model": name, "text": answer["text"]} for name, answer in sample["answers"].items()]}
                for sample in given["samples"]
                if sample["stored"]
            ]
    return list(found.values())


def _write_dvc_template(to: Path, vega: str) -> None:
    """The page that `dvc plots show` fills: with what it draws with inside, in place of links into the web.

    DVC puts charts in as scripts that run at once, so this one is no module; {plot_divs} is for DVC.
    """
    head = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>DVC plots</title>'
    to.write_text(
        f"{head}\n<script>(() => {{\n{vega}\n}})();</script>\n</head>\n<body>\n{{plot_divs}}\n</body></html>\n",
        encoding="utf-8",
    )


def vega_code(cache: Path) -> str:
    """Vega, Vega-Lite and Vega-Embed as one script. Bundling takes seconds, so what was bundled is kept."""
    import vl_convert

    kept = cache / f"vega-{vl_convert.__version__}.js"
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(".new")
        fresh.write_text(vl_convert.javascript_bundle(_BUNDLE), encoding="utf-8")
        fresh.replace(kept)
    # nothing in a script may end it
    return kept.read_text(encoding="utf-8").replace("</script", "<\\/script").replace("<!--", "<\\!--")


if __name__ == "__main__":
    try:
        main(json.load(sys.stdin))
    except StageError as error:
        sys.exit(f"{error.message}; {error.remedy}")
