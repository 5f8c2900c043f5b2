"""quantizeml in two steps: lower the float graph, then make it integer once ranges are known.

`quantizeml.models.quantize` does both at once and only warns about what it leaves in float. These are
the same functions it calls (quantizeml 1.2.5, pinned by the environment).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files, plain_gemm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BRAINCHIP = "com.brainchip"
IntegerType: TypeAlias = Literal["uint8", "int8"]
Values: TypeAlias = Literal["stored", "normalised"]
"""what a model takes: samples as they are stored, or as the data contract normalises them"""
Ranges: TypeAlias = Mapping[str, "tuple[NDArray[np.float32], NDArray[np.float32]]"]
"""tensor name -> lowest and highest value, each (channels,) or (1,) float32"""

_NODE_NAME = re.compile(r'\bname: "([^"]+)"\n\s*op_type')
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def lower(model: onnx_files.Model, shape: tuple[int, ...]) -> onnx_files.Model:
    """The graph in the operations Akida has, still float, for samples of `shape`; `model` is left as it is.

    Layers are named after their weights (`conv1.weight` -> `conv1`). Raises StageError if quantizeml cannot.
    """
    import numpy as np
    from quantizeml.onnx_support.quantization.model import ONNXModel
    from quantizeml.onnx_support.quantization.shape import set_model_shape
    from quantizeml.onnx_support.quantization.transforms import sanitize

    copy = type(model)()
    copy.CopyFrom(model)
    _drop_idle_output_padding(copy)
    plain_gemm.rewrite(copy)
    try:
        sized = set_model_shape(ONNXModel(copy), np.zeros((1, *shape), np.float32))
        lowered = sanitize(sized).model
    # whatever a pass of quantizeml raises, it is the model it cannot lower
    except Exception as error:
        raise StageError(
            f"quantizeml cannot lower the model: {onnx_files.first_line(error)}",
            "use a model of Conv, Gemm, MaxPool, GlobalAveragePool, Relu, Clip, Add and Concat with one input",
        ) from error
    lowered = _without_random_names(lowered)
    _name_after_weights(lowered)
    return lowered


def _drop_idle_output_padding(model: onnx_files.Model) -> None:
    """PyTorch's exporter always writes it; quantizeml refuses it even where it is zero."""
    for node in model.graph.node:
        if node.op_type == "ConvTranspose":
            kept = [one for one in node.attribute if one.name != "output_padding" or any(one.ints)]
            del node.attribute[:]
            node.attribute.extend(kept)


def make_integer(
    lowered: onnx_files.Model,
    ranges: Ranges,
    input_type: IntegerType,
    per_tensor_activations: bool,
    last_output_bits: int | None = None,
) -> onnx_files.Model:
    """The integer model (8-bit weights and activations) of a lowered graph and its activation ranges.

    `last_output_bits`: of the last layer's output, 8, or None for 32. The model takes floats, which its first node
    quantizes. Raises StageError naming every node that stays float, and why.
    """
    from onnxruntime.quantization.calibrate import TensorData
    from quantizeml.layers.quantization_params import QuantizationParams, quantization
    from quantizeml.onnx_support.quantization.model import ONNXModel
    from quantizeml.onnx_support.quantization.quantize import quantize_calibrated

    copy = type(lowered)()
    copy.CopyFrom(lowered)
    data = {name: TensorData(lowest=low, highest=high) for name, (low, high) in ranges.items()}
    params = QuantizationParams(
        input_dtype=input_type, per_tensor_activations=per_tensor_activations, last_output_bits=last_output_bits
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with quantization(params):
                integer = quantize_calibrated(ONNXModel(copy), data).model
        # quantizeml raises whatever its layers do; the model is then all float
        except Exception as error:
            integer, failure = lowered, onnx_files.first_line(error)
        else:
            failure = ""
    refused = _refusals(integer, [str(warning.message) for warning in caught])
    if refused:
        raise StageError(f"these nodes cannot be quantized for Akida: {'; '.join(refused)}", _remedy())
    if failure:
        raise StageError(f"quantizeml cannot quantize the model: {failure}", _remedy())
    _canonical_functions(integer)
    return integer


def take_stored(integer: onnx_files.Model) -> None:
    """Drop the node that quantizes the input: the model then takes uint8 as stored, on Akida in hardware.

    Right only where that node changes nothing: a scale of one and a zero point of zero.
    """
    import onnx

    quantizer = integer.graph.node[0]
    source, *constants = quantizer.input
    for node in integer.graph.node[1:]:
        for index, name in enumerate(node.input):
            if name == quantizer.output[0]:
                node.input[index] = source
    kept = [weight for weight in integer.graph.initializer if weight.name not in constants]
    infos = [info for info in integer.graph.value_info if info.name != quantizer.output[0]]
    del integer.graph.initializer[:], integer.graph.value_info[:], integer.graph.node[0]
    integer.graph.initializer.extend(kept)
    integer.graph.value_info.extend(infos)
    integer.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    _canonical_functions(integer)


def to_akida(integer: onnx_files.Model) -> Any:
    """The `akida.Model` of an integer model; StageError naming the node that has no counterpart on Akida."""
    import cnn2snn

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = cnn2snn.convert(integer)
        # cnn2snn re-raises whatever type its layer checks use
        except Exception as error:
            raise StageError(
                f"the model cannot be converted to Akida: {onnx_files.first_line(error)}",
                "change that layer: Akida has square kernels, strides and pools, and one input and output",
            ) from error
    cut = [str(warning.message) for warning in caught if "Conversion stops" in str(warning.message)]
    if cut:
        raise StageError(
            f"part of the model would be left out: {cut[0].splitlines()[0]}", "end the model at its logits"
        )
    return model


def _remedy() -> str:
    return (
        f"change these layers in the model; quantizeml knows {', '.join(_supported())} (square kernels, no dilation, "
        "Clip from 0), and a classifier must end at its logits"
    )


def _supported() -> list[str]:
    from quantizeml.onnx_support.quantization.register_patterns import PATTERNS_MAP

    names = {name for pattern in PATTERNS_MAP for name in pattern.pattern}
    # lower-case and BRN names are quantizeml's own, made while lowering
    return sorted(name for name in names if name[0].isupper() and "BRN" not in name and "Temp" not in name)


def _refusals(model: onnx_files.Model, messages: list[str]) -> list[str]:
    """One phrase per node still float in `model` that is itself the cause, not merely behind one."""
    floating = [
        node for node in model.graph.node if node.domain != BRAINCHIP or node.op_type in ("BRNPad", "activation")
    ]
    outputs = {output for node in floating for output in node.output}
    supported = _supported()
    phrases = []
    for node in floating:
        # a message lists the nodes of the block that was tried; the first is where it begins
        trace = next((text for text in messages if _NODE_NAME.findall(text)[:1] == [node.name]), None)
        # quantizeml splits a layer's padding off: the layer is the node behind it
        behind = [one for one in floating if node.output[0] in one.input]
        layer = behind[0] if node.op_type == "BRNPad" and behind else node
        if trace is not None:
            lines = trace.partition("Error trace:")[2].splitlines()
            reasons = [re.sub(r"^\w+Error: ", "", line.strip(" \t*")) for line in lines]
            why = "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or "quantizeml refuses it"
        elif outputs.intersection(node.input):
            continue
        elif _operation(layer) not in supported:
            why = "no such operation on Akida"
        else:
            why = _misplaced(layer, model)
        phrases.append(f"{layer.name or layer.output[0]} ({_operation(layer)}): {why}")
    return phrases


def _misplaced(layer: Any, model: onnx_files.Model) -> str:
    producers = {output: node for node in model.graph.node for output in node.output}
    before = next((producers[name] for name in layer.input if name in producers), None)
    if before is not None and before.op_type.startswith("Dequantizer"):
        before = producers.get(before.input[0])
    return f"not possible after {before.name}" if before is not None else "not possible as the first operation"


def _operation(node: Any) -> str:
    """The ONNX operation; quantizeml hides those of activations behind a function of its own."""
    main = [bytes(attribute.s).decode() for attribute in node.attribute if attribute.name == "main_op_type"]
    return main[0] if main else str(node.op_type)


def _without_random_names(model: onnx_files.Model) -> onnx_files.Model:
    """quantizeml puts random UUIDs into names: number them instead, so that equal models are equal bytes."""
    content = model.SerializeToString(deterministic=True)
    numbers: dict[bytes, bytes] = {}
    for found in _UUID.findall(content):
        # same length, so that the message around it stays valid
        numbers.setdefault(found, b"%036d" % len(numbers))
    parsed = type(model)()
    parsed.ParseFromString(_UUID.sub(lambda found: numbers[found.group()], content))
    return parsed


def _name_after_weights(model: onnx_files.Model) -> None:
    """Rewriting loses node names; a layer's weight still bears the name the model's author gave it."""
    weights = {weight.name for weight in model.graph.initializer}
    used = {node.name for node in model.graph.node}
    for node in model.graph.node:
        layers = [name.removesuffix(".weight") for name in node.input if name in weights and name.endswith(".weight")]
        if len(layers) == 1 and layers[0] not in used:
            node.name = layers[0]
            used.add(node.name)


def _canonical_functions(model: onnx_files.Model) -> None:
    """Keep the functions the model uses, in one order: quantizeml's order follows a set of strings."""
    used = {node.op_type for node in model.graph.node if node.domain == BRAINCHIP}
    functions = sorted((one for one in model.functions if one.name in used), key=lambda one: str(one.name))
    for function in functions:
        attributes = sorted(function.attribute)
        del function.attribute[:]
        function.attribute.extend(attributes)
    del model.functions[:]
    model.functions.extend(functions)
