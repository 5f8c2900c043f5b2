"""The pages of the reference, written from the code: verbs, params, and messages with their remedies."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recast.pipeline.cli.arguments import whole
from recast.stages.registry import REGISTRY, load

ROOT = Path(__file__).resolve().parents[2]
ERRORS = ("RecastError", "RecipeError", "StageError", "StageFailed", "Problem")
FILLED_IN = "…"
ELSEWHERE = {"resources", "model", "task"}
"""keys of a recipe, and params that all stages have: docs/recipes.md has them"""


def pages() -> dict[str, str]:
    """File -> its text."""
    return {"commands.md": commands(), "params.md": params(), "messages.md": messages()}


def commands() -> str:
    """`recast VERB --help` of every verb, as the parser prints it."""
    os.environ["COLUMNS"] = "100"  # by which argparse wraps
    parser: Any = whole(defaultdict(lambda: print), print)
    (verbs,) = (action for action in parser._actions if action.choices and action.nargs == "A...")
    parts = ["# Commands", "What `recast VERB --help` prints. `recast completion` has a shell complete all of it."]
    groups = dict.fromkeys(parser.titles.values())
    for group in groups:
        parts.append(f"## {group[0].upper()}{group[1:]}")
        for verb in (name for name, title in parser.titles.items() if title == group):
            parts.append(f"### {verb}\n\n```text\n{verbs.choices[verb].format_help().rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def params() -> str:
    """Each registered stage with its params, from the models that check recipes."""
    parts = [
        "# Params of stages",
        "Every stage with its params, as recipes are checked by. [Recipes](../recipes.md#params) has the types and "
        "says more of them.",
    ]
    for name, entry in sorted(REGISTRY.items(), key=lambda one: ("." in one[0], one[0])):
        stage = load(name)
        about = (inspect.getdoc(inspect.getmodule(stage.run)) or "").partition("\n\n")[0].replace("\n", " ")
        parts.append(f"## {name}\n\n{plain(about)}\n\nEnvironment: `{entry.environment}`.")
        rows = [
            f"| `{field}` | {default_of(info)} | {plain(info.description or '')} |"
            for field, info in stage.params.model_fields.items()
            if field not in ELSEWHERE
        ]
        if rows:
            parts.append("\n".join(["| param | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def default_of(field: Any) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    return "unset" if value is None else f"`{json.dumps(value, default=str)}`"


def plain(text: str) -> str:
    """Text of the code in a cell of Markdown, code in it as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return re.sub(r"([`|<>*\[\]])", r"\\\1", text)
    escaped = [re.sub(r"([|<>*\[\]])", r"\\\1", part) for part in parts[::2]]
    code = [f"`{part}`".replace("|", "\\|") for part in parts[1::2]]
    return "".join(a + b for a, b in zip(escaped, [*code, ""], strict=True))


def messages() -> str:
    """What is said where something is wrong, with its remedies, as the source has it."""
    parts = [
        "# Messages and remedies",
        "What Recast says where something is wrong, and how to mend it, by the module that says it; "
        f"`{FILLED_IN}` stands for what is filled in. A message whose words are put together elsewhere is not listed.",
    ]
    for top, title in (("pipeline", "The runner"), ("stages", "Stages")):
        parts.append(f"## {title}")
        for path in sorted((ROOT / top).rglob("*.py")):
            found = list(dict.fromkeys(said(ast.parse(path.read_text(encoding="utf-8")))))
            if found:
                rows = [f"| {plain(what)} | {plain(remedy)} |" for what, remedy in found]
                head = f"### {path.relative_to(ROOT).with_suffix('').as_posix()}"
                parts.append("\n".join([head, "", "| what | remedy |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def said(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The message and the remedies of each error that a module makes, where both are written out."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS):
            continue
        remedy = next((word.value for word in node.keywords if word.arg == "remedy"), None)
        given = [*node.args[:2], *([remedy] if remedy else [])]
        texts = [text for one in given if (text := written(one))]
        if len(texts) >= 2:
            yield texts[0], texts[1]


def written(node: ast.expr) -> str:
    """What a literal, or a list of them, says; empty where it says nothing of its own."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        parts = [one.value if isinstance(one, ast.Constant) else FILLED_IN for one in node.values]
        return "".join(parts) if any(part.strip(f"{FILLED_IN} ") for part in parts) else ""
    if isinstance(node, ast.Tuple | ast.List):
        return ", or ".join(text for one in node.elts if (text := written(one)))
    if isinstance(node, ast.IfExp):
        return written(node.body) or written(node.orelse)
    return ""
