# environment: akida
"""Which parts of a model are tried, and in which order; what Akida takes is told here, not asked of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.targets.akida import prepared
from recast.stages.targets.akida.hybrid import search
from recast.stages.targets.akida.inputs import Wanted
from recast.stages.targets.akida.prepared import Prepared
from tests.lib.faults import Weights
from tests.lib.onnx_models import CONTRACT, cnn

C = 4


@dataclass
class Akida:
    """Takes every part that holds none of these tensors."""

    refused: set[str]
    tried: list[set[str]] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)

    def prepare(self, model: Any, contract: Any, names: Any, wanted: Wanted, threads: int, scratch: Path) -> Prepared:
        made = {name for node in model.graph.node for name in node.output}
        self.tried.append(made)
        self.wanted.append(wanted)
        if made & self.refused:
            raise StageError("no")
        return Prepared(model)


Searched = Callable[..., tuple[search.Cut, Akida]]


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searched:
    def of(
        kinds: list[str], refused: Collection[str] = (), wanted: Wanted | None = None, **most: int
    ) -> tuple[search.Cut, Akida]:
        akida = Akida(set(refused))
        monkeypatch.setattr(prepared, "prepare", akida.prepare)
        return search.search(chain(kinds), CONTRACT, {}, wanted or Wanted(), 1, tmp_path, "no", **most), akida

    return of


def chain(kinds: list[str]) -> Any:
    """Operations one after another, each called by its place; of a convolution with how many filters, if not four."""
    net, x, channels = Weights(0), "image", 1
    for place, kind in enumerate(kinds):
        name = str(place)
        if kind.startswith("Conv"):
            filters = int(kind.removeprefix("Conv") or C)
            x, channels = net.conv(name, x, channels, filters, pads=[1, 1, 1, 1]), filters
        else:
            x = net.add(kind, name, [x])
    made = net.model("chain", (1, 8, 8), 1, x)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made)


def on_akida(cut: search.Cut) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    assert cut.parts is not None
    return [(part.reads, part.gives) for part in cut.parts.akida]


def test_what_is_known_to_be_at_fault_is_left_out_at_once(searched: Searched) -> None:
    cut, akida = searched(["Conv", "Relu", "Softplus", "Conv", "Relu"])
    # the one with most multiplications first: the first convolution has one channel to read
    assert akida.tried == [{"3", "4"}, {"0", "1"}]
    assert on_akida(cut) == [(("image",), ("1",)), (("2",), ("4",))]
    assert cut.parts is not None
    assert [part.kind for part in cut.parts.parts] == ["akida", "onnx", "akida"]
    assert set(cut.akida) == {"model", "model_2"} and cut.tries == 2


def test_where_no_fault_is_known_a_node_is_left_out_at_either_end(searched: Searched) -> None:
    cut, akida = searched(["Conv", "Conv", "Conv", "Conv", "Conv"], {"1"})
    assert on_akida(cut) == [(("image",), ("0",)), (("1",), ("4",))]
    # the whole is known to be refused and not tried again, and nothing is tried twice
    assert {"0", "1", "2", "3", "4"} not in akida.tried
    assert len({frozenset(one) for one in akida.tried}) == len(akida.tried) == cut.tries


def test_no_more_is_tried_than_is_allowed(searched: Searched) -> None:
    every = {str(place) for place in range(5)}
    cut, akida = searched(["Conv"] * 5, every, most_tries=3)
    assert (cut.parts, cut.tries, len(akida.tried)) == (None, 3, 3)
    said = search.none_found(StageError("it is refused", "change it"), cut)
    assert said.message == (
        "it is refused; nor does it take a part of the model that holds 5% of its multiplications (3 tried)"
    )
    assert said.remedies == ("change it",)
    # and it ends where every part was tried: 15 runs of layers, without the whole
    cut, akida = searched(["Conv"] * 5, every)
    assert (cut.parts, cut.tries) == (None, 14)


def test_there_are_no_more_parts_than_allowed(searched: Searched) -> None:
    cut, akida = searched(["Conv", "Softplus"] * 6)
    assert len(on_akida(cut)) == search.MOST_PARTS == len(akida.tried)


def test_a_part_with_few_multiplications_is_not_worth_it(searched: Searched) -> None:
    cut, akida = searched(["Conv1", "Softplus", "Conv16", "Conv16"])
    assert akida.tried == [{"2", "3"}]
    assert on_akida(cut) == [(("1",), ("3",))]


def test_the_recipes_input_is_that_of_the_first_part_and_the_last_outputs_bits_of_the_last(searched: Searched) -> None:
    said = Wanted("normalised", "uint8", True, 8)
    _, akida = searched(["Conv", "Softplus", "Conv", "Softplus", "Conv"], wanted=said)
    found = {max(made): wanted for made, wanted in zip(akida.tried, akida.wanted, strict=True)}
    assert found == {
        "0": Wanted("normalised", "uint8", True, None),
        "2": Wanted("auto", "auto", True, None),
        "4": Wanted("auto", "auto", True, 8),
    }


def test_a_model_for_a_fixed_number_of_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="that takes a fixed number of samples cannot be cut into parts") as caught:
        search.search(cnn(batch=1), CONTRACT, {}, Wanted(), 1, tmp_path, "no")
    assert caught.value.remedies == ("export it with a batch of any size", "set quantize.hybrid to false")
