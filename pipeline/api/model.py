"""An emitted model as a function: a process of its target's environment, asked through a pipe."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from recast.pipeline.core.errors import RecastError
from recast.pipeline.processes import verb_call
from recast.pipeline.processes.tool_variables import tool_variables

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# loaded by name, as everything that the runner starts of the stages
_PROCESS, _MESSAGES = "recast.stages.serving.model_process", "recast.stages.serving.messages"


class Model:
    """What a target has emitted, run by that target's runtime: `model(samples)` gives its outputs."""

    def __init__(self, root: Path, artifacts: Mapping[str, Any], threads: int) -> None:
        self.name = f"{artifacts['recipe']}/{artifacts['target']}"
        predictor = artifacts["predictor"]
        if predictor is None:
            raise RecastError(f"{self.name} has no runtime on this machine", "choose another target")
        self._messages = importlib.import_module(_MESSAGES)
        self._turn = threading.Lock()
        means = json.dumps({"threads": threads, "memory_gib": None, "local": artifacts["local"]})
        command = [predictor["python"], "-P", "-m", _PROCESS, predictor["module"]]
        variables = {**os.environ, **tool_variables(root)}
        variables["PYTHONPATH"] = verb_call.python_path(root, "", {predictor["module"]})
        self._process = subprocess.Popen(
            [*command, predictor["emitted"], means],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables,
            start_new_session=True,  # Ctrl-C is for the program, which asks it or not
        )
        try:
            self.about: Mapping[str, Any] = self._said()["ready"]
            """`shape` of one sample, `dtype`, `stored_dtype`, `classes`, `task` and how samples are normalised"""
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        inputs = self.about.get("inputs", [self.about])
        return f"<recast.Model {self.name} {', '.join(str(tuple(one['shape'])) for one in inputs)}>"

    def __call__(
        self, samples: ArrayLike | Mapping[str, ArrayLike], values: Literal["stored", "normalised"] = "stored"
    ) -> Any:
        """Outputs (n, ...) for samples (n, *shape), or (...) for one of `shape`: arrays by name of several of them.

        `values`: as the data stores them, for images 0 to 255; or as the contract normalises them. Raises RecastError
        for samples that the model does not take, and if it fails.
        """
        import numpy as np

        def numbers(one: ArrayLike) -> NDArray[Any]:
            given = np.asarray(one)
            if given.dtype.kind not in "biuf":
                raise RecastError(f"{self.name} takes numbers, not {given.dtype}", "give an array of numbers")
            return given.astype(np.int64) if given.dtype.kind == "b" else given

        each = self._messages.each
        sent: NDArray[Any] | dict[str, NDArray[Any]]
        if isinstance(samples, Mapping):
            sent = {name: numbers(one) for name, one in samples.items()}
        else:
            sent = numbers(samples)
        single = self._messages.is_one_sample(self.about, sent)
        batch = each(sent, lambda one: one[None]) if single else sent
        with self._turn:  # the answer to one may not be taken for another's
            if self._process.stdin is None or self._process.poll() is not None:
                raise RecastError(f"the process of {self.name} has ended", "open the model again")
            try:
                self._process.stdin.write(self._messages.encode({"values": values}, batch))
                self._process.stdin.flush()
            except OSError as error:
                raise RecastError(f"the process of {self.name} has ended", "open the model again") from error
            said = self._said()
            assert self._process.stdout
            data = self._process.stdout.read(self._messages.size(said))
        if not self._messages.holds(said):
            raise RecastError(f"{self.name} answers with no outputs", "ask 'recast serve' for what it gives instead")
        outputs = self._messages.decode(said, data)
        return each(outputs, lambda one: one[0]) if single else outputs

    def close(self) -> None:
        """End its process. Calling it again does nothing."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe and not pipe.closed:
                pipe.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RecastError(f"the process of {self.name} ended with {code}", "what it printed may say why")
        said: dict[str, Any] = json.loads(line)
        if "refused" in said:
            raise RecastError(said["refused"], said.get("remedy", ""))
        if "failed" in said:
            raise RecastError(f"{self.name} failed: {said['failed']}", "what its process printed says where")
        return said
