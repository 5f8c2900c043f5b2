"""Write what recipes of the examples reached into the pages of these.

    python examples/write_results.py PROJECT

PROJECT is a project in which they have run; a page is left alone where its recipe has not.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BETWEEN = re.compile(r"(<!-- results of (?P<recipe>\w+), by write_results\.py -->\n).*?(<!-- end of results -->)", re.S)


def table(summary: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table, a row for each target."""
    metric = next(iter(summary["targets"].values()))["verify"]["metric"]
    yield f"| target | {metric}, float | {metric}, emitted | agreement | size |"
    yield "|---|---|---|---|---|"
    for target, found in summary["targets"].items():
        said = found["verify"]
        shown = "{:.1%}" if said["is_share"] else "{:.4g}"
        values = (shown.format(said[f"{metric}_{of}"]).replace("%", " %") for of in ("float", "emitted"))
        agreement = f"{said['agreement']:.1%}".replace("%", " %")
        yield f"| {target} | {' | '.join(values)} | {agreement} | {said['size_bytes'] / 1000:.1f} kB |"


def main(project: Path) -> None:
    for page in sorted(HERE.glob("*/README.md")):

        def results(found: re.Match[str]) -> str:
            summary = project / "artifacts" / found["recipe"] / "summary.json"
            if not summary.is_file():
                return found[0]
            lines = "\n".join(table(json.loads(summary.read_text(encoding="utf-8"))))
            return f"{found[1]}{lines}\n{found[3]}"

        page.write_text(BETWEEN.sub(results, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
