"""A release of a recipe that has run: made, signed, checked, damaged, served and made again, by the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lib.repository import call, commit, copy_repository, git

RECIPE = "released"
TEXT = """\
model: models.digits_cnn:DigitsCnn
stages:
  data: {dataset: digits, resize: 28, mean: 0.5, std: 0.5}
  train: {epochs: 1}
  export: {opset: 18}
targets:
  onnxruntime:
    verify: {min_accuracy: 0.01, min_agreement: 0.1}
"""
WHAT = f"{RECIPE}/onnxruntime"


def keys(place: Path) -> tuple[str, str]:
    private, public = str(place / "key.pem"), str(place / "public.pem")
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return private, public


@pytest.mark.slow
def test_a_release_is_the_same_each_time_and_is_checked_refused_and_made_again(tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    copy_repository(repository)
    for path in (repository / "recipes").glob("*.yaml"):
        path.unlink()  # fewer to plan
    (repository / "recipes" / f"{RECIPE}.yaml").write_text(TEXT)

    def recast(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        return call(repository, "./recast", *map(str, arguments), check=check)

    # nothing has run
    recast("sync")
    done = recast("release", WHAT, "-o", tmp_path / "none.tar", check=False)
    assert done.returncode == 2 and "is not up to date" in done.stderr and "run './recast run" in done.stderr
    assert not (tmp_path / "none.tar").exists()
    recast("run", RECIPE)
    done = recast("release", WHAT, "-o", tmp_path / "dirty.tar", "--version", "v1.0.0", "--tag", check=False)
    assert done.returncode == 2 and "a tag is for a commit" in done.stderr
    git(repository, "config", "user.name", "t")
    git(repository, "config", "user.email", "t@example.org")
    commit(repository, "a recipe")

    # the same bytes each time; the tag of it
    one, other = tmp_path / "one.tar", tmp_path / "other.tar"
    recast("release", WHAT, "-o", one, "--version", "v1.0.0", "--tag", "--licence", "Apache-2.0")
    recast("release", WHAT, "-o", other, "--version", "v1.0.0", "--licence", "Apache-2.0")
    assert one.read_bytes() == other.read_bytes()
    (listed,) = json.loads(recast("releases", "--json").stdout)
    assert (listed["name"], listed["version"], listed["is_latest"]) == (f"{RECIPE}-onnxruntime", "v1.0.0", True)
    assert "there already" in recast("release", WHAT, "-o", one, check=False).stderr

    # signed, checked with the key and not without, and refused byte by byte
    private, public = keys(tmp_path)
    folder = tmp_path / "signed"
    recast("release", WHAT, "-o", folder, "--key", private)
    assert "signed by that key" in recast("verify-release", folder, "--key", public).stdout
    assert "nobody knows by whom" in recast("verify-release", folder, check=False).stderr
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert recast("verify-release", moved, "--key", public).returncode == 0
    (tmp_path / "others").mkdir()
    _, stranger = keys(tmp_path / "others")
    assert "not that of this key" in recast("verify-release", moved, "--key", stranger, check=False).stderr
    signature = moved / "model.sig"
    whole = signature.read_bytes()
    signature.write_bytes(whole.replace(b'"sig": "M', b'"sig": "N') if b'"sig": "M' in whole else whole[:-9])
    assert recast("verify-release", moved, "--key", public, check=False).returncode == 2
    signature.write_bytes(whole)
    # one who changes a file and every document that speaks of it has no signature for that
    weights = moved / "model/model.onnx"
    weights.write_bytes(weights.read_bytes() + b"\0")
    refused = recast("verify-release", moved, "--no-signature", check=False)
    assert refused.returncode == 2 and "model/model.onnx: was changed" in refused.stderr

    # the card and the bill say what was measured, and nothing that is not known
    shutil.unpack_archive(one, tmp_path / "laid")
    laid = tmp_path / "laid" / f"{RECIPE}-onnxruntime"
    metrics = json.loads((laid / "metrics/onnxruntime/verify.json").read_text())
    card = (laid / "README.md").read_text()
    assert f"value: {metrics['accuracy_emitted']}" in card and "license: apache-2.0" in card
    bill = json.loads((laid / "bom.cdx.json").read_text())
    assert bill["metadata"]["component"]["type"] == "machine-learning-model"
    assert {"file", "data", "library"} == {component["type"] for component in bill["components"]}
    manifest = json.loads((laid / "manifest.json").read_text())
    assert manifest["git"]["dirty"] is False and manifest["origins"][0]["name"] == "digits"
    assert [id.rpartition("/")[2] for id in manifest["order"]][-1] == "verify"

    # made again, and what is not as it was is named with its stage
    assert "are the same, byte by byte" in recast("rebuild", one, "--check").stdout
    assert "worktree" not in subprocess.run(
        ["git", "worktree", "list", "--porcelain"], cwd=repository, capture_output=True, text=True
    ).stdout.replace("worktree ", "", 1)
    (repository / "artifacts" / RECIPE / "train/metrics.json").write_text("{}")
    done = recast("release", WHAT, "-o", tmp_path / "edited.tar", check=False)
    assert done.returncode == 2 and "edited by hand" in done.stderr
