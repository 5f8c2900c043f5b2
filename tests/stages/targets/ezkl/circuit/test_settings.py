# environment: ezkl
from __future__ import annotations

import json
from pathlib import Path

import pytest

from recast.stages.base import StageError
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.circuit.settings import ORDER, signed
from tests.lib.onnx_models import Workplace


def felt(value: int) -> str:
    return (value % ORDER).to_bytes(32, "little").hex()


def test_elements_of_the_field_are_signed() -> None:
    assert [signed(felt(value)) for value in (0, 1, -1, 12345, -12345)] == [0, 1, -1, 12345, -12345]
    assert signed(felt(ORDER // 2)) == ORDER // 2
    assert signed(felt(ORDER // 2 + 1)) == -(ORDER // 2)


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "ff" * 32, ORDER.to_bytes(32, "little").hex(), " " * 64])
def test_what_is_no_canonical_element_is_refused(text: str) -> None:
    with pytest.raises(StageError, match="is no element of the field"):
        signed(text)


def test_settings_are_canonical_whatever_the_order_and_time(mlp: Workplace, tmp_path: Path) -> None:
    found = settings.read(mlp.root / "emit" / settings.FILE)
    shuffled = dict(reversed(found.raw.items()))
    shuffled["required_range_checks"] = list(reversed(shuffled["required_range_checks"]))
    shuffled["timestamp"] = 1795234202363
    assert len(shuffled["required_range_checks"]) > 1
    (tmp_path / "shuffled.json").write_text(json.dumps(shuffled))
    settings.read(tmp_path / "shuffled.json").write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (mlp.root / "emit" / settings.FILE).read_bytes()


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"required_lookups": []}')
    with pytest.raises(StageError, match=r"cannot read the circuit's settings in settings.json"):
        settings.read(tmp_path / "settings.json")
