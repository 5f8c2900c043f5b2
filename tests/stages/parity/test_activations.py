# environment: torch
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional as F

from recast.stages.base import StageError
from recast.stages.parity.activations import MODEL, Activations, collect, read, save


class Net(nn.Module):
    """Modules from a list, and any forward."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self._forward = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self._forward(self, x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.conv(x)) + x
        y += x
        return y


def x(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def names(found: Activations) -> list[str]:
    return [layer.name for layer in found.layers]


def test_modules_and_functions_by_qualified_name_in_the_order_they_run() -> None:
    model = Net(
        lambda self, x: F.log_softmax(self.head(torch.flatten(self.blocks(x), 1)), dim=1),
        blocks=nn.Sequential(Block(), Block()),
        head=nn.Linear(32, 3),
    )
    sample = x(5, 2, 4, 4)
    found = collect(model, sample)
    assert names(found) == [
        *("blocks.0.conv", "blocks.0.relu", "blocks.0.add", "blocks.0.add_1", "blocks.0"),
        *("blocks.1.conv", "blocks.1.relu", "blocks.1.add", "blocks.1.add_1", "blocks.1", "blocks"),
        *("flatten", "head", "log_softmax", MODEL),
    ]
    assert not found.modules_only
    assert not found.left_out
    assert {layer.name: layer.kind for layer in found.layers}["blocks.1.conv"] == "Conv2d"
    at = found.tensors
    torch.testing.assert_close(at["blocks.0.relu.out.0"], at["blocks.0.conv.out.0"].relu(), rtol=0, atol=0)
    torch.testing.assert_close(at["blocks.0.add.out.0"], at["blocks.0.relu.out.0"] + sample, rtol=0, atol=0)
    torch.testing.assert_close(at["blocks.0.add_1.in.0"], at["blocks.0.add.out.0"], rtol=0, atol=0)
    torch.testing.assert_close(at["blocks.0.add_1.out.0"], at["blocks.0.out.0"], rtol=0, atol=0)
    torch.testing.assert_close(at[f"{MODEL}.in.0"], sample, rtol=0, atol=0)
    torch.testing.assert_close(at[f"{MODEL}.out.0"], model.eval()(sample).detach(), rtol=0, atol=0)


def test_a_value_is_that_of_before_it_was_overwritten_and_shares_no_memory() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    found = collect(model, x(6, 3))
    before, after = found.tensors["0.out.0"], found.tensors["1.out.0"]
    assert (before < 0).any()
    torch.testing.assert_close(found.tensors["1.in.0"], before, rtol=0, atol=0)
    torch.testing.assert_close(after, before.relu(), rtol=0, atol=0)
    places = [tensor.untyped_storage().data_ptr() for tensor in found.tensors.values()]
    assert len(set(places)) == len(places)
    assert not any(tensor.requires_grad or tensor.is_inference() for tensor in found.tensors.values())


def test_the_callers_samples_are_not_overwritten() -> None:
    sample = x(4, 3)
    copy = sample.clone()
    collect(nn.Sequential(nn.ReLU(inplace=True)), sample)
    assert torch.equal(sample, copy)


def test_a_function_that_overwrites_its_input() -> None:
    model = Net(lambda self, x: F.relu(self.fc(x), inplace=True), fc=nn.Linear(3, 4))
    found = collect(model, x(6, 3))
    assert (found.tensors["relu.in.0"] < 0).any()
    assert torch.equal(found.tensors["relu.in.0"], found.tensors["fc.out.0"])
    assert torch.equal(found.tensors["relu.out.0"], found.tensors["fc.out.0"].relu())


def test_a_shared_module_is_numbered_and_a_second_name_is_not_used() -> None:
    shared = nn.Linear(3, 3)
    model = Net(lambda self, x: self.b(self.a(x)), a=shared, b=shared)
    found = collect(model, x(2, 3))
    assert names(found) == ["a", "a#1", MODEL]
    assert torch.equal(found.tensors["a#1.in.0"], found.tensors["a.out.0"])


def test_a_function_does_not_take_a_modules_name() -> None:
    model = Net(lambda self, x: F.relu(self.relu(x) - 1), relu=nn.ReLU())
    found = collect(model, x(2, 3))
    assert names(found) == ["relu", "sub", "relu_1", MODEL]
    assert [layer.function for layer in found.layers] == [False, True, True, False]


class Several(nn.Module):
    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> Any:
        return {"scaled": x * scale, "both": (x, [x + 1])}


def test_tuples_dicts_and_keyword_arguments() -> None:
    model = Net(lambda self, x: self.inner(x, scale=x + 2)["scaled"], inner=Several())
    found = collect(model, x(2, 3))
    assert {key for key in found.tensors if key.startswith("inner.") and "mul" not in key and "add" not in key} == {
        "inner.in.0",
        "inner.in.scale",
        "inner.out.scaled",
        "inner.out.both.0",
        "inner.out.both.1.0",
    }
    rnn = collect(nn.LSTM(3, 4), x(2, 1, 3))
    assert sorted(rnn.tensors) == [f"{MODEL}.{key}" for key in ("in.0", "out.0", "out.1.0", "out.1.1")]


def test_without_a_trace_there_are_modules_only_and_it_says_why() -> None:
    model = Net(lambda self, x: self.fc(x if x.sum() > 0 else -x), fc=nn.Linear(3, 3))
    found = collect(model, x(2, 3))
    assert names(found) == ["fc", MODEL]
    assert found.modules_only.startswith("torch.fx cannot trace the model: TraceError: symbolically traced variables")


def test_a_trace_that_computes_something_else_is_not_used() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        # a tracer's stand-in is no Tensor
        return self.fc(x) + 1 if isinstance(x, torch.Tensor) else self.fc(x) - 1

    found = collect(Net(forward, fc=nn.Linear(3, 3)), x(2, 3))
    assert found.modules_only == "what torch.fx traced computes something else than the model"
    assert names(found) == ["fc", MODEL]


def test_limits_keep_the_first_layers_and_the_model_and_name_the_rest() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    found = collect(model, x(2, 4), max_layers=2)
    assert names(found) == ["0", "1", MODEL]
    assert found.left_out == {"2": "more layers than max_layers", "3": "more layers than max_layers"}
    each = 2 * 4 * 4 * 2  # float32 input and output of (2, 4)
    found = collect(model, x(2, 4), max_bytes=each + each // 2)
    assert names(found) == ["0", MODEL]
    assert found.left_out["1"] == f"{each // 2} bytes more would pass max_bytes"
    kept = sum(value.nbytes for key, value in found.tensors.items() if not key.startswith(MODEL))
    assert kept == each


def test_a_layer_that_does_not_fit_leaves_room_for_one_that_does() -> None:
    model = nn.Sequential(nn.Linear(4, 1000), nn.Linear(1000, 4), nn.ReLU())
    found = collect(model, x(2, 4), max_bytes=100)
    assert names(found) == ["2", MODEL]
    assert sorted(found.left_out) == ["0", "1"]


def test_the_model_is_left_as_it_was_even_when_it_fails() -> None:
    def broken(self: Any, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("oops")

    model = Net(broken, fc=nn.Linear(3, 3), drop=nn.Dropout())
    model.train()
    model.fc.eval()
    with pytest.raises(KeyError, match="oops"):
        collect(model, x(2, 3))
    model._forward = lambda self, x: self.drop(self.fc(x))
    found = collect(model, x(2, 3))
    assert torch.equal(found.tensors["drop.out.0"], found.tensors["fc.out.0"])  # sampled in eval mode
    assert model.training and model.drop.training and not model.fc.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_callers_random_numbers_are_untouched() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    collect(Net(lambda self, x: F.dropout(x), fc=nn.Identity()), x(2, 3))
    assert torch.equal(torch.rand(3), expected)


def test_saved_and_read_without_torch_with_the_same_bytes(tmp_path: Path) -> None:
    model = Net(
        lambda self, x: self.head(F.relu(self.conv(x)).flatten(1)), conv=nn.Conv2d(2, 3, 1), head=nn.Linear(48, 2)
    )
    for name in ("a", "b"):
        save(tmp_path / name, collect(model, x(3, 2, 4, 4).to(memory_format=torch.channels_last), max_layers=4))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    back = read(tmp_path / "a")
    assert [layer.name for layer in back.layers] == ["conv", "relu", "flatten", "head", MODEL]
    assert next(iter(back.tensors)) == "conv.in.0"
    assert back.tensors["relu.out.0"].shape == (3, 3, 4, 4)
    np.testing.assert_array_equal(load_file(tmp_path / "a")["head.out.0"], back.tensors["head.out.0"])
    assert b"pickle" not in (tmp_path / "a").read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(StageError, match=r"cannot read the activations a\.safetensors"):
        read(tmp_path / "a.safetensors")
