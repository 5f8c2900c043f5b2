"""A release that a verb is given in place of a target: checked, laid out once, and refused if a byte is another."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.processes import environments
from recast.pipeline.release import files
from recast.pipeline.release.archive import pack
from recast.pipeline.release.served import is_release, served
from recast.stages import registry
from recast.stages.registry import Entry
from tests.lib.small_release import lay


@pytest.fixture(autouse=True)
def target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.PREDICTORS, "b.emit", Entry("a_predictor", "onnx"))
    monkeypatch.setattr(environments, "ensure", lambda root, name, say: SimpleNamespace(python=Path("python")))


def test_a_folder_is_used_where_it_lies_and_an_archive_is_laid_out_by_its_bytes(tmp_path):
    folder = lay(tmp_path / "r")
    assert is_release(folder) and not is_release(tmp_path) and not is_release(tmp_path / "none")
    assert served(tmp_path, folder, print)["directories"] == {"emit": str(folder / "model")}
    archive = tmp_path / "r.tar"
    pack(folder, list(files.found(folder)), "r", archive)
    for _ in range(2):
        laid = Path(served(tmp_path, archive, print)["directories"]["emit"])
        assert laid.is_relative_to(tmp_path / ".recast/released")
        assert (laid / "model.bin").read_bytes() == (folder / "model/model.bin").read_bytes()
    # what was laid out is looked at again each time
    (laid / "model.bin").write_bytes(b"other")
    with pytest.raises(RecastError, match="was changed"):
        served(tmp_path, archive, print)


def test_a_signature_is_said_to_be_unlooked_at(tmp_path):
    folder = lay(tmp_path / "r")
    (folder / "model.sig").write_text("{}")
    said: list[str] = []
    served(tmp_path, folder, said.append)
    assert len(said) == 1 and "by whom was not looked at" in said[0]
