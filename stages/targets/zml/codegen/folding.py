"""BatchNorm folded into the layer before it, where that changes nothing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def fold(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy with each BatchNorm that alone follows a Conv2d or Linear folded into it; the names of those.

    What was a BatchNorm is an Identity then. A layer called twice, or whose output something else reads,
    is left as it is. A model that torch.fx cannot trace is not folded.
    """
    from torch import fx, nn
    from torch.nn.utils import fusion

    model = copy.deepcopy(model)
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # tracing raises whatever the code meets; emit says so of the layer at fault
        return model, ()
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    folded = []
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(node.args[0], fx.Node) or node.args[0].op != "call_module":
            continue
        before, name = node.args[0], str(node.target)
        layer, norm = model.get_submodule(str(before.target)), model.get_submodule(name)
        if len(before.users) != 1 or calls[name] != 1 or calls[str(before.target)] != 1:
            continue
        if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d) or norm.running_var is None:
            continue
        # BatchNorm1d after a Linear over {b, s, d} normalises s, not d
        if type(layer) is nn.Conv2d:
            replacement = fusion.fuse_conv_bn_eval(layer, norm)
        elif type(layer) is nn.Linear and norm.num_features == layer.out_features:
            replacement = fusion.fuse_linear_bn_eval(layer, norm)
        else:
            continue
        model.set_submodule(str(before.target), replacement)
        model.set_submodule(name, nn.Identity())
        folded.append(name)
    return model.eval(), tuple(folded)
