"""Every byte of a release is looked at: what was changed, added or removed is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.release import files
from recast.pipeline.release.layout import (
    CARD,
    CHECKSUMS,
    MANIFEST,
    PROVENANCE,
    SIGNATURE,
    as_json,
)
from recast.pipeline.release.verify import check, opened, verify
from tests.lib.small_release import SOUND, STAGE, finish, lay


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay(tmp_path / "r")


def refused(folder: Path) -> str:
    with pytest.raises(RecastError) as caught:
        check(folder)
    return caught.value.message


def test_a_release_as_it_was_written_is_sound(folder):
    checked = check(folder)
    assert checked.files == 7 and not checked.is_signed and not checked.signature_checked


def test_one_changed_byte_in_each_file_in_turn_is_refused_and_the_file_is_named(folder):
    names = list(files.found(folder))
    assert len(names) == 7
    for name in names:
        path = folder / name
        whole = path.read_bytes()
        for at in range(0, len(whole), 11):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert name in refused(folder), (name, at)
        for other in (whole[:-1], whole + b"\n", b""):
            path.write_bytes(other)
            assert name in refused(folder)
        path.unlink()
        assert f"{name}: missing" in refused(folder)
        path.write_bytes(whole)
    check(folder)


def test_which_of_two_that_disagree_was_changed_is_told(folder):
    path = folder / "model/model.bin"
    path.write_bytes(b"Weights")
    assert refused(folder) == f"model/model.bin: was changed, it is not what {CHECKSUMS} says"
    path.write_bytes(b"weights")
    sums = (folder / CHECKSUMS).read_text()
    digest = files.sha256(path)
    (folder / CHECKSUMS).write_text(sums.replace(digest, "0" * 64))
    assert refused(folder).startswith(f"{CHECKSUMS}: its line of model/model.bin was changed")


def test_an_added_file_a_hidden_one_and_a_link_are_refused(folder):
    for name in ("model/more.bin", ".hidden", ".git"):
        (folder / name).write_bytes(b"")
        assert refused(folder) == f"{name}: no file of the release"
        (folder / name).unlink()
    (folder / "link").symlink_to("/etc/passwd")
    assert refused(folder).startswith("link is a link")
    (folder / "link").unlink()
    (folder / "model/model.bin").unlink()
    (folder / "model/model.bin").symlink_to(folder / CARD)
    assert refused(folder).startswith("model/model.bin is a link")


def test_documents_that_speak_of_other_files_are_refused_though_the_sums_agree(folder):
    (folder / "model/model.bin").write_bytes(b"other")
    (folder / CHECKSUMS).write_bytes(files.as_text(files.digests(folder, files.summed(files.found(folder)))))
    assert refused(folder).startswith(f"{PROVENANCE}: speaks of other files than there are: model/model.bin")
    (folder / MANIFEST).write_bytes(as_json({**SOUND, "format": "recast-release/9"}))
    finish(folder)
    assert "recast-release/9" in refused(folder)
    (folder / MANIFEST).write_bytes(as_json({**SOUND, "recipe": "../../x"}))
    finish(folder)
    assert "names no recipe" in refused(folder)
    (folder / MANIFEST).write_bytes(b"[" * 200_000)
    finish(folder)
    assert f"{MANIFEST} cannot be read" in refused(folder)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"order": ["../../etc"], "stages": {"../../etc": STAGE}}, "order"),
        ({"order": [["a"]]}, "order"),
        ({"stages": {}}, "stages"),
        ({"stages": {"a/b/emit": 3}}, "stages"),
        ({"stages": {"a/b/emit": {"params": {}, "files": {"x": 1}}}}, "stages"),
        ({"git": None}, "git"),
        ({"git": {"commit": 3, "dirty": False, "changes": []}}, "git"),
        ({"git": {"commit": "0", "dirty": "no", "changes": []}}, "git"),
        ({"version": 1}, "version"),
        ({"emitted_by": []}, "emitted_by"),
    ],
)
def test_a_manifest_of_another_form_is_refused_by_its_key(folder, wrong, key):
    (folder / MANIFEST).write_bytes(as_json({**SOUND, **wrong}))
    finish(folder)
    assert refused(folder) == f"{MANIFEST}: {key} is not as `recast release` writes it"


def test_a_signature_is_never_passed_over_in_silence(folder, tmp_path):
    with pytest.raises(RecastError, match="not signed; ask for one that is"):
        verify(tmp_path, folder, tmp_path / "key.pem", print)
    (folder / SIGNATURE).write_text("{}")
    with pytest.raises(RecastError, match="without a key nobody knows by whom"):
        verify(tmp_path, folder, None, print)
    checked = verify(tmp_path, folder, None, print, without_signature=True)
    assert checked.is_signed and not checked.signature_checked


def test_what_is_no_release_is_said(tmp_path):
    with pytest.raises(RecastError, match="there is no release"), opened(tmp_path / "none"):
        pass
    assert "missing from the release" in refused(tmp_path)
