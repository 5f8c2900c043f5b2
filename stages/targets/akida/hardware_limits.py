"""Why a layer stays in software, and what of it to change: akida's phrases in words of the user's model.

Akida names parts of its chip (CNP, FNP, HRC), and numbers without what they are of. These are the phrases of akida
2.19.3 for version 2 of the processor, but for those about recurrent layers, which come of no ONNX model here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_LARGER_DEVICE = ", or set emit.device to one with more nodes"


@dataclass(frozen=True)
class Limit:
    """What of a layer the processor does not take, and how to change that; `change` says "it" of the layer."""

    why: str
    change: str = ""
    has_size: bool = False
    """whether akida's number is the most that is taken of it"""


POOLS = Limit("it pools, so it needs a convolution behind it in hardware too", "put a convolution behind its pool")
_SMALLER_INPUT = "let a stride or a pool before it make its input smaller, or give it fewer channels"
PHRASES: tuple[tuple[str, Limit], ...] = (
    (
        r"Only padding 'Same' and 'SameUpper'|Only padding same",
        Limit("it is not padded so that its output is as large as its input", "pad it to keep the size of its input"),
    ),
    (
        r"SameUpper padding only stride 2",
        Limit(
            "it is padded more on one side than on the other, which needs a stride of 2", "pad it alike on all sides"
        ),
    ),
    (
        r"SameUpper padding only kernels",
        Limit(
            "it is padded more on one side than on the other, which needs a kernel of 3, 5 or 7",
            "pad it alike on all sides",
        ),
    ),
    (
        r"support both pooling and stride",
        Limit("it has both a stride and a pool behind it", "give it a stride of 1, or leave its pool out"),
    ),
    (
        r"Pooling size must be|Unsupported max-pooling size|Pooling width and height|Pooling stride",
        Limit("the size or the stride of its pool is none that hardware has", "give it a pool of 2 with stride 2"),
    ),
    (
        r"Max pooling is not supported with activation LUT",
        Limit("its pool stands behind an activation that hardware looks up in a table", "give it a ReLU"),
    ),
    (
        r"Pooling size cannot be greater|max pooling, output second dimension",
        Limit("its input is too small for its pool", "leave its pool out"),
    ),
    (
        r"max pooling cannot be the last|max pooling must be followed by",
        POOLS,
    ),
    (
        r"verage pooling must be global|pool_type cannot be Average",
        Limit("it has an average pool over a part of its input only", "make its pool global"),
    ),
    (
        r"With average pooling, input height|Average Pooling, input height|Average Pooling, input dimensions",
        Limit(
            "its input is too large for the global pool behind it", "let a stride or a pool before it make it smaller"
        ),
    ),
    (
        r"Average Pooling, the output of the convolution must have|Average Pooling does not support 1x1",
        Limit("its output is too small for the global pool behind it", "leave a stride or a pool before it out"),
    ),
    (
        r"Kernel size must be|Kernel size should be|kernel size should be|Kernel width and height",
        Limit("its kernel is of a size that hardware does not have", "give it a square kernel of 1, 3, 5 or 7"),
    ),
    (
        r"strides must be equal|stride must be 1 or 2|stride 2 is only|the kernel stride must",
        Limit(
            "its stride is none that hardware has for its kernel", "give it a stride of 1, or of 2 with a 3x3 kernel"
        ),
    ),
    (
        r"maximum number of filters|filters number should|num_neurons should",
        Limit("it has more filters than hardware takes", "give it fewer filters", has_size=True),
    ),
    (
        r"Filter size is too big|split to fit weights",
        Limit("one of its filters is larger than a node's memory", "give it fewer input channels or a smaller kernel"),
    ),
    (
        r"maximum input|too large to fit|Input size exceeds|maximum value for NP|to fit inputs|Input shift exceeds"
        r"|skip DMA horizontal",
        Limit("what it reads is larger than hardware takes", _SMALLER_INPUT, has_size=True),
    ),
    (
        r"dimension size cannot be smaller|dimension should be >=",
        Limit("what it reads is smaller than hardware takes", "leave a stride or a pool before it out"),
    ),
    (
        r"Not enough hardware components|Model is too big|Cannot split",
        Limit("the device has too few nodes for it", f"give it fewer filters{_LARGER_DEVICE}"),
    ),
    (
        r"HRC supports 1 outbound",
        Limit(
            "more than one layer reads what it gives, and it is the input's convolution",
            "let one layer alone read what it gives, or set quantize.input_type to int8",
        ),
    ),
    (
        r"maximum of 2 outbounds|via dual outputs|can't have multiple outputs",
        Limit("more layers read what it gives than hardware hands it to", "let fewer layers read what it gives"),
    ),
    (
        r"Inbounds must be of types|inbounds must come from|skip connection|merge layer",
        Limit(
            "what it adds or joins does not come from convolutions in hardware",
            "let it add or join outputs of two different convolutions",
        ),
    ),
    (
        r"FNP cannot be directly followed by",
        Limit("a convolution follows it, and it is a dense layer", "put no convolution behind it"),
    ),
    (
        r"Does not support activation type|activations are enabled|activation is not supported",
        Limit("its activation is none that hardware has there", "give it a ReLU"),
    ),
    (
        r"input shift is out of range|output shift is out of range|output_shift should|output_scales should",
        Limit(
            "the ranges of what it reads and of what it gives are too far apart",
            "put a normalisation around it, or calibrate on samples more like each other",
        ),
    ),
    (
        r"Input should be 4-bit|Input bits should|Output should be|output bitwidth should|Output bits should",
        Limit("it reads or gives integers of a width that hardware does not have", "put a ReLU behind it"),
    ),
    (r"cannot be zeroes", Limit("all its weights are zero", "leave it out, or train it")),
    (
        r"first layer of a pass|first layer of the sequence|start a sequence with",
        Limit("the layer before it is in software"),
    ),
    (r"not have this hardware compone", Limit("the device has no unit that runs such a layer")),
    (
        r"Unsupported layer type|not compatible with the map constraints",
        Limit("hardware has no such layer", "use a convolution or a dense layer in its place"),
    ),
)


_SENTENCES = re.compile(r"(?<=[.)])\s+(?!The maximum value|Maximum size)(?=[A-Z])")
"""where one ends: the size that is allowed is said in another, of what the one before it is about"""
_AT_MOST = re.compile(r"(?:is|exceed|exceeds)[^\d.]*(\d+)( bytes)?")
_GOT = re.compile(r"\(got (\d+)")


def of_layer(said: str) -> tuple[str, str]:
    """The layer that akida says it cannot map, empty if it names none, and what it says of it, in one line."""
    named = re.match(r"Cannot map layer '([^']*)'", said)
    return named[1] if named else "", " ".join(said[named.end() if named else 0 :].split()).lstrip(".: ")


def limits(said: str) -> list[Limit]:
    """What akida's reason for leaving a layer to software means; a sentence that is not known is quoted as akida's."""
    found = []
    for sentence in _SENTENCES.split(said):
        limit = next((one for phrase, one in PHRASES if re.search(phrase, sentence)), None)
        if limit is None:
            found.append(Limit(f"akida says of it: '{sentence}'", "see what akida says of it"))
            continue
        most, got = _AT_MOST.search(sentence), _GOT.search(sentence)
        given = f", not {got[1]}" if got else ""
        size = f" ({most[1]}{most[2] or ''} at most{given})" if most and limit.has_size else ""
        found.append(replace(limit, why=limit.why + size))
    return found
