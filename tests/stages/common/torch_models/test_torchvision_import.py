# environment: torch
from __future__ import annotations

import sys
from typing import Any

import pytest

from recast.stages.base import StageError
from recast.stages.common.torch_models import torchvision_import


def test_datasets_can_be_imported() -> None:
    datasets = torchvision_import.import_torchvision("datasets")
    assert datasets.__name__ == "torchvision.datasets" and hasattr(datasets, "MNIST")
    assert torchvision_import.import_torchvision().__name__ == "torchvision"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("No module named 'torchvision'"), "cannot import torchvision.io: No module named"),
        (RuntimeError("something else"), "cannot import torchvision.io: something else"),
    ],
)
def test_other_failures_are_told(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def fail(name: str) -> Any:
        raise error

    loaded = set(sys.modules)
    monkeypatch.setattr(torchvision_import.importlib, "import_module", fail)
    with pytest.raises(StageError, match=message) as caught:
        torchvision_import.import_torchvision("io")
    assert "torchvision" in caught.value.remedy and loaded <= set(sys.modules)


def test_an_operator_that_stays_missing_is_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise RuntimeError("operator torchvision::never_there does not exist")

    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
    monkeypatch.setattr(torchvision_import.importlib, "import_module", fail)
    with pytest.raises(StageError, match="never_there does not exist"):
        torchvision_import.import_torchvision()
    sys.modules.update(kept)
