"""The model card of a release, in Hugging Face's form, written from data alone.

https://huggingface.co/docs/hub/model-cards: YAML in front of Markdown. Nothing is in it that nobody has said or
measured, so what people must say themselves, such as what the model must not be used for, is asked for by name.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML

from recast.pipeline.release.layout import BOM, LICENCES, MANIFEST, MODEL, PROVENANCE, SIGNATURE
from recast.pipeline.release.scores import scores
from recast.pipeline.release.subject import Subject

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def card(subject: Subject, version: str, licence: str) -> bytes:
    """The content of the release's README.md."""
    front = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.allow_unicode = False
    yaml.dump(_front(subject, licence), front)
    return f"---\n{front.getvalue()}---\n\n{_body(subject, version, licence)}".encode()


def _front(subject: Subject, licence: str) -> dict[str, Any]:
    contract = subject.contract
    task, dataset = str(contract.get("task", {}).get("name", "unknown")), str(contract.get("dataset", "unknown"))
    results = [
        {"type": one.name, "value": one.value, "name": f"{one.name} ({one.of})", "verified": False}
        for one in scores(subject)
    ]
    return {
        # Hugging Face's word where nobody has said it
        "license": licence.lower() if licence else "unknown",
        "tags": ["recast", str(subject.address.target), task],
        "model-index": [
            {
                "name": subject.address.dvc_name,
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {"name": dataset, "type": dataset, "split": "test"},
                        "metrics": results,
                    }
                ],
            }
        ],
    }


def _body(subject: Subject, version: str, licence: str) -> str:
    address, contract = subject.address, subject.contract
    measured = subject.metrics[subject.verifying.id]
    changed = ", with changes that no commit holds: it cannot be made again" if subject.git.is_dirty else ""
    model = subject.stages[-1].params.get("model") or next(
        (stage.params["model"] for stage in subject.stages if stage.params.get("model")), None
    )
    lines = [
        f"# {_plain(address.dvc_name)}{f' {_plain(version)}' if version else ''}",
        "",
        f"The recipe `{address.recipe}`, recast for `{address.target}` by Recast. The model lies in `{MODEL}/`, whose "
        "README says how it is run.",
        "",
        "## What it takes and gives",
        "",
        *_table(
            ("", "name", "shape of a sample", "type", "made of a stored sample"),
            [
                *(("input", one["name"], one["shape"], one["dtype"], _made(one)) for one in contract.get("inputs", ())),
                *(("output", one["name"], one["shape"], one["dtype"], "") for one in contract.get("outputs", ())),
            ],
        ),
        "",
        f"Task: {_plain(contract.get('task', {}).get('name', 'not said'))}.",
    ]
    if classes := contract.get("classes"):
        lines += ["", f"Classes, in the order of the scores: {', '.join(_plain(one) for one in classes)}."]
    lines += [
        "",
        "## What was measured",
        "",
        f"Over {measured.get('samples', 'the')} held-out samples of {_plain(contract.get('dataset', 'the data'))}, the "
        "emitted model on its target's runtime beside the float model"
        + (f", on a CPU of the kind {_plain(measured['cpu'])}." if measured.get("cpu") else "."),
        "",
        *_table(("metric", "of", "value"), [(one.name, one.of, one.shown) for one in scores(subject)]),
    ]
    limits = {
        key: value
        for key, value in subject.verifying.params.items()
        if key.startswith(("min_", "max_")) and value is not None
    }
    if limits:
        said = ", ".join(f"{_plain(key)} {value}" for key, value in sorted(limits.items()))
        lines += ["", f"It met the limits of its recipe: {said}."]
    lines += [
        "",
        "## From what it was made",
        "",
        f"Commit `{subject.git.commit}`{changed}.",
        *([f"Model: `{model['name']}`."] if isinstance(model, Mapping) and "name" in model else []),
        "",
        *_table(
            ("stage", "what it was told"),
            [(stage.id, _told(stage.params)) for stage in subject.stages],
        ),
        "",
        "## What is not known",
        "",
        "Nobody has told Recast what the model is meant for, for whom, where it fails, or what its data leave out: add "
        "that before others use it.",
        *([] if licence else ["Its licence was not said (`recast release --licence`)."]),
        "",
        "## What lies beside it",
        "",
        *_table(
            ("file", "holds"),
            [
                (f"`{MANIFEST}`", "the recipe as resolved, the commit, hashes of data, weights and results, pins"),
                (f"`{BOM}`", "the bill of materials, CycloneDX"),
                (f"`{PROVENANCE}`", "how it came to be: an in-toto statement with SLSA's provenance"),
                (f"`{LICENCES}`", "licences of the packages that made it"),
                (f"`{SIGNATURE}`", "OpenSSF model signing, where it was signed"),
            ],
            plain=False,
        ),
        "",
        "`recast verify-release` checks it all; `recast rebuild --check` makes it again and compares.",
    ]
    return "\n".join(lines) + "\n"


def _made(one: Mapping[str, Any]) -> str:
    if not str(one["dtype"]).startswith("float"):
        return "as it is stored"
    return f"({one['stored_dtype']} / {one['divisor']:g} - {_list(one['mean'])}) / {_list(one['std'])}"


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _told(params: Mapping[str, Any]) -> str:
    told = {key: value for key, value in sorted(params.items()) if value is not None and key != "resources"}
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in told.items()) or "nothing"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, plain: bool = True) -> list[str]:
    show = _plain if plain else str
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(show(cell) for cell in row)} |" for row in rows),
    ]


def _plain(value: object) -> str:
    """Text that Markdown takes for nothing else, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(str(value).split()))
