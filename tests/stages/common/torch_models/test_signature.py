# environment: torch
"""How models of several inputs are called, and what their outputs are called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from recast.stages.base import StageError
from recast.stages.common.samples import Samples
from recast.stages.common.torch_models import signature


class Named(nn.Module):
    def forward(self, meta: Any, image: Any, scale: float = 1.0) -> Any:
        return meta - image * scale


class Many(nn.Module):
    def forward(self, *tensors: Any) -> Any:
        return tensors[0] - tensors[1]


@pytest.mark.parametrize(
    ("model", "names", "expected"),
    [
        (Named, ["image", "meta"], -1.0),  # by their names
        (Named, ["first", "second"], 1.0),  # by their order
        (Many, ["first", "second"], 1.0),
    ],
)
def test_inputs_go_by_name_then_by_order(model: type[nn.Module], names: list[str], expected: float) -> None:
    x = Samples({names[0]: torch.full((2, 1), 2.0), names[1]: torch.full((2, 1), 1.0)})
    assert signature.run(model(), x).tolist() == [[expected], [expected]]


def test_a_model_may_write_into_its_input() -> None:
    class Writes(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mul_(2)

    x = torch.ones(2, 1)
    assert signature.run(Writes(), x).tolist() == [[2.0], [2.0]] and x.tolist() == [[1.0], [1.0]]


def test_what_a_model_may_return() -> None:
    one, two = torch.zeros(2, 3), torch.zeros(2, 4)
    assert signature.outputs(one) is one and signature.outputs((one,)) is one
    named = signature.outputs({"a": one, "b": (two, [one])})
    assert list(named.arrays) == ["a", "b_0", "b_1_0"]
    assert list(signature.outputs((one, two)).arrays) == ["output_0", "output_1"]
    for wrong, said in (
        (None, "the model returns nothing"),
        ((one, None), "returns nothing among its outputs"),
        ((one, torch.tensor(1.0)), "returns one number among its outputs"),
        ((one, torch.zeros(3, 3)), "outputs of shapes output_0 (2, 3), output_1 (3, 3)"),
        ((), "returns a tuple"),
    ):
        with pytest.raises(StageError) as caught:
            signature.outputs(wrong)
        assert said in caught.value.message
