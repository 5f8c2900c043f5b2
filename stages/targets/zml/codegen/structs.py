"""The emitted model as data: a struct per module, and the text of `model.zig`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recast.stages.targets.zml.codegen import zig_text


@dataclass(frozen=True)
class Layer:
    """What a module computes: the tensors it holds, by name in PyTorch with their axes, and Zig statements.

    The statements see `self` and the parameters, and end with a return; every tensor they return has the
    axes of `zig_text.AXES`. `helpers` are functions of `recast.stages.targets.zml.codegen.runtime_functions` they call.
    """

    body: Sequence[str]
    tensors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    parameters: Sequence[str] = ("input",)
    helpers: Sequence[str] = ()


@dataclass
class Struct:
    """A module: `path` is its qualified name in PyTorch, empty for the model; `layer` None if it is never called."""

    name: str
    path: str
    kind: str
    layer: Layer | None = None
    inputs: Sequence[str] = ()
    """what the activations call its inputs, in the order of `layer.parameters`: `0`, `mask`"""
    children: dict[str, Struct] = field(default_factory=dict)

    def walk(self) -> Iterator[Struct]:
        """Those inside first, in the order they were met, then itself."""
        for child in self.children.values():
            yield from child.walk()
        yield self


def write(root: Struct, helpers: Mapping[str, str], head: Sequence[str]) -> str:
    """model.zig: `head` as its first comment, then the structs, the model's own first, and the helpers they use."""
    used = {name for struct in root.walk() if struct.layer for name in struct.layer.helpers}
    blocks = [
        "\n".join(f"//! {line}".rstrip() for line in head),
        'const zml = @import("zml");',
        *(_struct(struct) for struct in [root, *(one for one in root.walk() if one is not root)]),
        *(text.strip() for name, text in helpers.items() if name in used),
    ]
    if root.name != "Model":
        blocks.insert(2, f"pub const Model = {root.name};")
    return "\n\n".join(blocks) + "\n"


def _struct(struct: Struct) -> str:
    layer = struct.layer
    tensors = layer.tensors if layer else {}
    lines = [f"/// {struct.path or 'the model'}: {struct.kind}", f"pub const {struct.name} = struct {{"]
    lines += [f"    {zig_text.field(name)}: zml.Tensor," for name in tensors]
    lines += [f"    {zig_text.field(name)}: {child.name}," for name, child in struct.children.items()]
    if tensors or struct.children:
        lines.append("")
    lines += _init(struct, tensors)
    if layer:
        lines.append("")
        lines += _forward(struct, layer)
    return "\n".join([*lines, "};"])


def _init(struct: Struct, tensors: Mapping[str, Sequence[str]]) -> list[str]:
    if not tensors and not struct.children:
        return [f"    pub fn init(_: zml.io.TensorStore.View) {struct.name} {{", "        return .{};", "    }"]
    lines = [f"    pub fn init(store: zml.io.TensorStore.View) {struct.name} {{", "        return .{"]
    for name, axes in tensors.items():
        created = f'store.createTensor("{name}", {zig_text.tags(axes)}, .replicated)'
        lines.append(f"            .{zig_text.field(name)} = {created},")
    for name in struct.children:
        lines.append(f'            .{zig_text.field(name)} = .init(store.withPrefix("{name}")),')
    return [*lines, "        };", "    }"]


def _forward(struct: Struct, layer: Layer) -> list[str]:
    own = "self" if any("self." in line for line in layer.body) else "_"
    parameters = ", ".join([f"{own}: {struct.name}", *(f"{name}: zml.Tensor" for name in layer.parameters)])
    return [
        f"    pub fn forward({parameters}) zml.Tensor {{",
        *(f"        {line}" for line in layer.body),
        "    }",
    ]
