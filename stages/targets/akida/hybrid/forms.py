"""The forms of a model in parts: the forms of its parts, run one after the other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recast.stages.base import Inputs
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.forms.form import Arrays, Form, Given, NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.targets.akida import model_forms
from recast.stages.targets.akida.hybrid import chain
from recast.stages.targets.akida.hybrid import parts as parts_of
from recast.stages.targets.akida.hybrid.parts import SCHEME, Part, Parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.parity.metrics import Kind

HOW = {
    "lowered": "quantizeml's float graphs and the ONNX parts in onnxruntime, its optimisation off",
    "quantized": "quantizeml's integer graphs and the ONNX parts in onnxruntime, its optimisation off",
    "emitted": "akida's software backend, no chip, and the ONNX parts in onnxruntime, its optimisation off; for each "
    "layer of Akida the model cut off behind it",
}

KINDS: Mapping[str, Kind] = {"lowered": "float", "quantized": "int8", "emitted": "same"}
"""what each of these conversions may change: of an ONNX part none changes anything"""


class PartsForm(Form):
    """Forms of parts. A tensor is called in all of them what it is called in the user's model.

    Tensors that only one part has, and another has by the same name, are called after the part as well.
    """

    def __init__(self, parts: Parts, forms: Mapping[str, Form], runs: str) -> None:
        """`forms`: by part, each of samples of what its part reads, Samples of several."""
        self._parts, self._forms, self.runs = parts, forms, runs
        self.output = parts.output
        self._handed = {name for part in parts.parts for name in (*part.reads, *part.gives)}
        self._called = {name: name for name in self._handed}
        """a tensor that parts hand on, by its name in the user's model -> what it is called"""
        self._align()

    def _align(self) -> None:
        """Have every form call what it gives as the user's model does, and no other tensor as one of another part."""
        taken: set[str] = set()
        for part in self._parts.parts:
            form = self._forms[part.name]
            ends = dict(zip(form.outputs, part.gives, strict=True))
            form.rename({own: name for own, name in ends.items() if own != name})
            inner = [name for name in form.tensors if name not in self._handed]
            form.rename({name: f"{name} ({part.name})" for name in inner if name in taken})
            taken.update(form.tensors)

    @property
    def tensors(self) -> list[str]:
        """Those of the parts, in running order, each once."""
        return list(dict.fromkeys(name for part in self._parts.parts for name in self._forms[part.name].tensors))

    @property
    def called(self) -> Mapping[str, str]:
        """As the parts have it."""
        return {own: name for form in self._forms.values() for own, name in form.called.items()}

    def values(self, x: Any) -> Arrays:
        """Of all parts, each of what the parts before give."""
        found, _ = self._run(x)
        return found

    def _run(self, x: Any, given: Given | None = None) -> tuple[Arrays, dict[str, Any]]:
        """All tensors, and by part its samples; a tensor that is `given` is handed on so, whatever its part makes."""
        handed: dict[str, Any] = {self._parts.input: x}
        found: Arrays = {}
        taken: dict[str, Any] = {}
        for part in self._parts.parts:
            taken[part.name] = self._samples(part, handed)
            made = self._forms[part.name].values(taken[part.name])
            found = {**made, **found}
            for name in part.gives:
                called = self._called[name]
                handed[name] = (given or {}).get(called, made[called])
                found[called] = made[called]
        return found, taken

    def _samples(self, part: Part, handed: Mapping[str, Any]) -> Any:
        return samples.of({name: handed[name] for name in part.reads})

    def alone(self, x: Any, given: Given) -> Arrays | None:
        """Each tensor as its layer in its part makes it; of what is not given, parts read what they are handed."""
        handed: dict[str, Any] = {self._parts.input: x}
        found: Arrays = {}
        for part in self._parts.parts:
            form = self._forms[part.name]
            taken = self._samples(part, handed)
            of_part = {name: value for name, value in given.items() if name in form.tensors}
            # what it reads is not made by it
            read = {self._called[name] for name in part.reads}
            made = form.alone(taken, of_part)
            if made is None:
                return None
            found.update({name: value for name, value in made.items() if name not in read})
            lacking = [name for name in part.gives if self._called[name] not in given]
            own = form.values(taken) if lacking else {}
            for name in part.gives:
                called = self._called[name]
                handed[name] = given[called] if called in given else own[called]
        return found

    def held(self, given: Given) -> Arrays | None:
        """As the part that makes a tensor holds it."""
        found: Arrays = {}
        for part in self._parts.parts:
            form = self._forms[part.name]
            held = form.held({name: value for name, value in given.items() if name in form.tensors})
            if held is None:
                return None
            found = {**held, **found}
        return {**given, **found}

    def output_given(self, x: Any, tensor: str, value: NDArray[Any]) -> Any:
        """The output of the last part, when one tensor of some part has this value."""
        if tensor == self.output:
            return value
        handed: dict[str, Any] = {self._parts.input: x}
        for part in self._parts.parts:
            form = self._forms[part.name]
            taken = self._samples(part, handed)
            gives = [self._called[name] for name in part.gives]
            if tensor in form.tensors and tensor not in [self._called[name] for name in part.reads]:
                made = form.output_given(taken, tensor, value)
                if made is None:
                    return None
                made = samples.named(made, form.outputs)
            else:
                made = form.values(taken)
            for name, called in zip(part.gives, gives, strict=True):
                handed[name] = value if called == tensor else made[called]
        return handed[self._parts.output]

    def steps_apart(self, tensor: str, expected: NDArray[Any], made: NDArray[Any]) -> float | None:
        """As the part that makes it counts them."""
        return self._maker(tensor).steps_apart(tensor, expected, made)

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """As the part that makes it has it."""
        form = self._maker(tensor)
        return form.inputs_of(tensor, [name for name in shown if name in form.tensors])

    def _maker(self, tensor: str) -> Form:
        """The form of the first part that has the tensor: others only read it."""
        return next(
            (self._forms[part.name] for part in self._parts.parts if tensor in self._forms[part.name].tensors),
            self._forms[self._parts.parts[-1].name],
        )

    def rename(self, names: Mapping[str, str]) -> None:
        """In every part that has them."""
        for form in self._forms.values():
            form.rename({name: called for name, called in names.items() if name in form.tensors})
        self._called = {own: names.get(called, called) for own, called in self._called.items()}
        self.output = self._called[self._parts.output]

    def forget(self) -> None:
        """In every part."""
        for form in self._forms.values():
            form.forget()


def of_parts(inputs: Inputs, threads: int) -> list[NamedForm]:
    """The lowered float model, the integers and what was emitted; none where emit/ is all there is."""
    from recast.stages.common.dataset import Output, read_contract

    quantized, calibrated, emitted = (inputs[stage] for stage in ("quantize", "calibrate", "emit"))
    if not parts_of.are_in(quantized) or not calibrated.is_dir():
        return []
    of_data, made = read_contract(inputs["data"]), chain.Chain(emitted, threads)
    by_form: dict[str, dict[str, Form]] = {name: {} for name in HOW}
    for part in made.parts.parts:
        if part.kind == "onnx":
            model = onnx_files.read_model(emitted / part.file)
            named = [NamedForm(name, OnnxForm(model, threads, part.file), "float") for name in HOW]
        else:
            contract = made.parts.contract_of(part, of_data)
            shape = made.parts.shapes[part.gives[0]]
            on_akida = made.akida[part.name]
            scheme = json.loads((quantized / part.name / SCHEME).read_text(encoding="utf-8"))
            named = model_forms.of_model(
                quantized / part.name,
                calibrated / part.name,
                scheme,
                on_akida.model,
                on_akida.input,
                (contract, replace(contract, outputs=(Output(part.gives[0], shape),))),
                threads,
            )
        for one in named:
            by_form[one.name][part.name] = one.form
    return [NamedForm(name, PartsForm(made.parts, by_form[name], how), KINDS[name]) for name, how in HOW.items()]
