"""PyTorch's functions and tensor methods that have an operation: what may stand in a model's `forward`."""

from __future__ import annotations

from typing import Any

from recast.stages.targets.zml.codegen import norms, products, resizing, signals, windows
from recast.stages.targets.zml.codegen import operations as ops
from recast.stages.targets.zml.codegen.calls import Operation
from recast.stages.targets.zml.codegen.operations import ELEMENTWISE

ARITHMETIC = ("add", "sub", "mul", "div")
SHAPES = ("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten")
IDENTITIES = ("contiguous", "clone", "detach")
CONVERSIONS = ("to", "long", "int", "float")
FUNCTIONS_ONLY = ("same", "relu6", "silu", "hardsigmoid", "hardswish", "softplus")
"""what no tensor has as a method"""
PARTS = ("chunk", "split", "unbind")
"""functions and methods that give several tensors"""
PLAIN = ("size", "dim")
"""methods that give numbers"""


def methods() -> dict[str, Operation]:
    """Tensor method -> operation."""
    table = {name: ops.elementwise(name) for name in ELEMENTWISE if name not in FUNCTIONS_ONLY}
    table |= {f"{name}_": table[name] for name in ("relu", "sigmoid", "tanh")}
    table |= dict.fromkeys(SHAPES, ops.reshape) | dict.fromkeys(IDENTITIES, ops.elementwise("same"))
    table |= dict.fromkeys(CONVERSIONS, ops.convert) | {name: ops.arithmetic(name) for name in ARITHMETIC}
    table |= {f"{name}_": ops.arithmetic(name) for name in ARITHMETIC}
    return table | {
        "softmax": ops.softmax,
        "log_softmax": ops.log_softmax,
        "transpose": ops.transpose,
        "permute": ops.permute,
        "mean": ops.reduction("mean"),
        "sum": ops.reduction("sum"),
        "amax": ops.reduction("max"),
        "clamp": ops.clamp,
        "matmul": products.matmul,
        "bmm": products.matmul,
    }


def functions() -> dict[Any, Operation]:
    """Function -> operation. Needs torch."""
    import operator

    import torch
    from torch.nn import functional as F

    table: dict[Any, Operation] = {
        getattr(torch, name): operation for name, operation in methods().items() if hasattr(torch, name)
    }
    for name in ("relu", "relu6", "silu", "sigmoid", "tanh", "hardsigmoid", "hardswish"):
        table[getattr(F, name)] = ops.elementwise(name)
    for name in ARITHMETIC:
        symbol = "truediv" if name == "div" else name
        table[getattr(operator, symbol)] = table[getattr(operator, f"i{symbol}")] = ops.arithmetic(name)
    for torch_name in ("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout"):
        table[getattr(F, torch_name)] = ops.dropout
    return table | {
        torch.cat: ops.concatenate,
        torch.concat: ops.concatenate,
        torch.conv2d: windows.conv2d,
        torch.conv_transpose2d: windows.conv_transpose2d,
        torch.conv1d: signals.conv1d,
        torch.max_pool1d: signals.max_pool1d,
        torch.max_pool2d: windows.max_pool2d,
        operator.neg: ops.elementwise("neg"),
        operator.matmul: products.matmul,
        operator.getitem: ops.item,
        F.gelu: ops.gelu,
        F.leaky_relu: ops.leaky_relu,
        F.elu: ops.elu,
        F.hardtanh: ops.hardtanh,
        F.normalize: ops.normalize,
        F.pad: ops.pad,
        F.softmax: ops.softmax,
        F.log_softmax: ops.log_softmax,
        F.linear: products.linear,
        F.max_pool2d: windows.max_pool2d,
        F.avg_pool2d: windows.avg_pool2d,
        F.max_pool1d: signals.max_pool1d,
        F.avg_pool1d: signals.avg_pool1d,
        F.adaptive_avg_pool1d: signals.adaptive_avg_pool1d,
        F.interpolate: resizing.upsample,
        F.pixel_shuffle: resizing.pixel_shuffle,
        F.group_norm: norms.group_norm,
        F.adaptive_avg_pool2d: windows.adaptive_avg_pool2d,
        F.layer_norm: norms.layer_norm,
        F.batch_norm: norms.batch_norm,
        F.embedding: products.embedding,
        F.scaled_dot_product_attention: products.attention,
    }


def supported() -> str:
    """The functions and operators, for a message."""
    names = {getattr(function, "__name__", "").strip("_") for function in functions()} | set(methods())
    names |= {*PARTS}
    return ", ".join(sorted(name for name in names if name and not name.endswith("_")))
