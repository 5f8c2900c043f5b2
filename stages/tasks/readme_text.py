"""What the README of every emitted folder says alike: what the model takes, what it gives, and what that means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recast.stages.tasks import task

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract


def fields(contract: Contract, output: Sequence[int | None]) -> dict[str, str]:
    """For `str.format`: dataset, the shape and dtype of a sample and how it is prepared, the output (n, *output)."""
    taken, said = contract.only, task.of(contract.task)
    return {
        "dataset": contract.dataset,
        "shape": axes(taken.shape),
        "takes": taken.dtype,
        "preparation": preparation(contract),
        "outputs": axes(output),
        "meaning": said.meaning(contract),
        "answer": said.answer("outputs", "contract"),
    }


def axes(shape: Sequence[int | None]) -> str:
    """`3, 32, 32`."""
    return ", ".join("?" if length is None else str(length) for length in shape)


def table(contract: Contract) -> str:
    """Rows of a Markdown table: every input and every output of a model with several, and what becomes of a sample."""
    rows = ["| | name | dtype | shape | |", "|---|---|---|---|---|"]
    for one in contract.inputs:
        prepared = "and taken so"
        if one.is_float and (one.divisor, set(one.mean), set(one.std)) != (1.0, {0.0}, {1.0}):
            prepared = f"taken as `({one.name} / {one.divisor:g} - {list(one.mean)}) / {list(one.std)}`, per channel"
        stored = f"`{one.name}`, stored as {one.stored_dtype}, {prepared}"
        rows.append(f"| input | `{one.tensor or one.name}` | {one.dtype} | (N, {axes(one.shape)}) | {stored} |")
    said = task.of(contract.task)
    judged = said.judged_name([one.name for one in contract.outputs])
    for made in contract.outputs:
        meaning = said.meaning(contract) if made.name == judged else ""
        rows.append(f"| output | `{made.name}` | {made.dtype} | (N, {axes(made.shape)}) | {meaning} |")
    return "\n".join(rows).replace(", )", ")")


def preparation(contract: Contract) -> str:
    """How a stored sample becomes the model's input, in one or two sentences."""
    taken = contract.only
    if not taken.is_float:
        return "Samples are taken as they are stored."
    made = (
        f" Samples are made of recordings by the `front_end` that `input.json` states ({contract.front_end['name']}); "
        "nothing in this folder does that."
        if contract.front_end
        else ""
    )
    return (
        f"A stored sample becomes its input as `(stored / {taken.divisor:g} - mean) / std`, with mean "
        f"{list(taken.mean)} and std {list(taken.std)} per channel (the first axis). The wrong normalisation raises no "
        f"error: it only gives wrong outputs.{made}"
    )
