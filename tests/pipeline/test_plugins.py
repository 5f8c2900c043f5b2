"""Plugins as they are found: through their entry points, with one clear error for each that cannot be used."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.lib.repository import ROOT, lay_sound

INIT = """\
from pathlib import Path
from recast.stages.plugin import Entry, Plugin, VerbEntry
HERE = Path(__file__).parent
PLUGIN = Plugin(
    stages={"text.emit": Entry("texts.emit", "text")},
    targets=HERE / "targets",
    pins=HERE / "envs",
    verbs={"read-out": VerbEntry("texts.verb", "text", "read a model out")},
)
"""
STAGE = """\
from recast.stages.base import Params, Stage
from texts.words import WORDS
STAGE = Stage(params=Params, inputs=("simplify",), run=lambda params, inputs, out: {"words": WORDS}, emits="model.txt")
"""
VERB = """\
from recast.stages.verb import Verb
VERB = Verb(lambda parser: parser.add_argument("--loud", action="store_true"), print)
"""
PACKAGE = {
    "texts/__init__.py": INIT,
    "texts/emit.py": STAGE,
    "texts/words.py": "from recast.stages.common.spelling import meant\nWORDS = meant('x')\n",
    "texts/verb.py": VERB,
    "texts/targets/text.yaml": "stages:\n  emit: {resources: {cpu: 2}}\n",
    "texts/envs/text.txt": "# python: 3.11\nnumpy==2.4.6\n",
    "recast_texts-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: Recast_Texts\nVersion: 1.2\n",
    "recast_texts-1.2.dist-info/entry_points.txt": "[recast.targets]\ntext = texts:PLUGIN\n"
    "[recast.verbs]\nread-out = texts:PLUGIN\n",
}
DATASET = {
    "shapes.py": "from recast.stages.base import progress\ndef read(roots, scratch):\n    raise NotImplementedError\n",
    "shapes-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: shapes\nVersion: 0.1\n",
    "shapes-0.1.dist-info/entry_points.txt": "[recast.sources]\ntriangles = shapes:read\n",
}
RECIPE = "extends: base\ntargets: {akida: false, onnxruntime: false, text: {}}\n"

Install = Callable[[Mapping[str, str]], None]


class Place:
    """A repository, and a folder beside it that packages are installed into."""

    def __init__(self, folder: Path) -> None:
        self.site, self.root = folder / "site", folder / "repository"
        lay_sound(self.root, {"recipes/r.yaml": RECIPE, "dvc.yaml": "", "envs/torch.txt": "# python: 3.11\n"})

    def install(self, *packages: Mapping[str, str]) -> None:
        for package in packages:
            for name, text in package.items():
                (self.site / name).parent.mkdir(parents=True, exist_ok=True)
                (self.site / name).write_text(text)

    def recast(self, *arguments: str) -> tuple[int, str]:
        """Exit code and all that was said."""
        code = f"import sys; sys.path[:0] = [{str(ROOT / 'src')!r}, {str(self.site)!r}]; from recast.pipeline.cli.main"
        command = [sys.executable, "-B", "-c", f"{code} import main; main()", *arguments]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def record(self) -> dict[str, Any]:
        """What recast.lock says."""
        said: dict[str, Any] = YAML(typ="safe").load((self.root / "recast.lock").read_text())
        return said

    def digests(self) -> str:
        """Of every stage of the recipe, by key."""
        code = "from pathlib import Path; from recast.pipeline.planning.make_plan import make_plan; "
        code += "print([stage.digests for stage in make_plan(Path(), ['r']).stages.values() if stage.digests])"
        return self.python(code)

    def python(self, code: str) -> str:
        paths = [str(ROOT / "src"), str(self.site)]
        command = [sys.executable, "-B", "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def changed(**texts: str) -> dict[str, str]:
    """The package with some of its files changed: `__init__`, `entry_points` or `set`."""
    names = {
        "init": "texts/__init__.py",
        "points": "recast_texts-1.2.dist-info/entry_points.txt",
        "set": "texts/targets/text.yaml",
    }
    return {**PACKAGE, **{names[name]: text for name, text in texts.items()}}


def test_a_package_adds_a_target_an_environment_and_a_verb(place: Place) -> None:
    place.install(PACKAGE)
    assert place.recast("check", "r") == (0, "recipes/r.yaml: sound; 5 stages, 4 of them shared; targets: text\n")
    code, said = place.recast("env", "list")
    assert code == 0 and "\ntext         python 3.11  not built" in said
    code, said = place.recast("read-out", "--help")
    assert code == 0 and "Read a model out." in said and "--loud" in said


def test_a_digest_is_in_the_key_of_its_stages_and_its_files_are_no_dependencies(place: Place) -> None:
    place.install(PACKAGE, DATASET)
    code, said = place.recast("sync")
    assert code == 0 and "wrote recast.lock" in said, said
    lock = place.record()
    assert list(lock) == ["stages", "plugins"] and list(lock["stages"]) == ["text"]
    assert re.fullmatch("[0-9a-f]{64}", lock["stages"]["text"]["emit"])
    assert lock["plugins"] == {"recast-texts": {"version": "1.2", "targets": ["text"], "stages": ["text.emit"]}}
    # of what is installed the schema holds what recipes use, so that everyone writes the same
    schema = (place.root / "recipes/schema.json").read_text()
    assert '"text.emit"' in schema and '"digits"' in schema and "triangles" not in schema
    text = (place.root / "dvc.yaml").read_text()
    entry = text[text.index("  r-text-emit:") : text.index("    outs:\n    - artifacts/r/text/emit")]
    assert "- recast.lock:\n      - stages.text.emit\n" in entry
    assert "texts" not in entry and "envs/" not in entry
    assert text.count("recast.lock") == 1
    assert "  guard:" in text and "always_changed: true" in text
    assert place.recast("sync") == (0, "")
    assert place.recast("sync", "--check") == (0, "dvc.yaml and the schema match the recipes\n")


def test_an_upgrade_makes_the_record_stale_and_bytecode_does_not(place: Place) -> None:
    place.install(PACKAGE)
    place.recast("sync")
    # nor does what the stage does not run with, or where the package lies
    place.install({"texts/__pycache__/emit.cpython-311.pyc": "x", "texts/verb.py": "VERB = 1\n", "texts/.editor": ""})
    place.site = place.site.rename(place.site.with_name("elsewhere"))
    assert place.recast("sync", "--check")[0] == 0 and place.recast("stage", "guard") == (0, "")
    place.install({"texts/words.py": "WORDS = 'other'\n"})
    for command in (("sync", "--check"), ("plan",)):
        code, said = place.recast(*command)
        message = "the code of 'r/text/emit' is another than when recast.lock was written (of recast-texts); run"
        assert code == 2 and message in said
    # a plan of what has no part in it is not refused for that
    assert "recast.lock" not in place.recast("plan", "base")[1]
    renewed = "recast: wrote recast.lock, since other code is installed than it said: stages.text.emit\n"
    assert place.recast("stage", "guard") == (0, renewed)
    assert place.recast("stage", "guard") == (0, "") == place.recast("sync")
    # and nothing of it is left when no recipe uses it
    (place.root / "recipes/r.yaml").unlink()
    code, said = place.recast("sync")
    assert code == 0 and not (place.root / "recast.lock").exists()
    assert "always_changed" not in (place.root / "dvc.yaml").read_text()


EDITS = {
    "code that it imports": {"texts/words.py": "WORDS = 2\n"},
    "data of its package": {"texts/words.csv": "a,b\n"},
    "its pins": {"texts/envs/text.txt": "# python: 3.11\nnumpy==2.4.5\n"},
    "its stage set": {"texts/targets/text.yaml": "stages:\n  emit: {resources: {cpu: 3}}\n"},
}
NO_EDITS = {
    "a comment in its stage set": {"texts/targets/text.yaml": "# x\nstages:\n  emit: {resources: {cpu: 2}}\n"},
    "what its pins are solved from": {"texts/envs/text.in": "numpy\n"},
    "pins of another environment": {"texts/envs/other.txt": "# python: 3.11\n"},
    "another target": {"texts/targets/other.yaml": "uses: {emit: text.emit}\nstages: {emit: {}}\n"},
    "what else is there": {"texts/verb.py": "VERB = 1\n", "texts/.editor": "", "texts/__pycache__/emit.pyc": ""},
}


@pytest.fixture(scope="module")
def sound_digests(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = Place(tmp_path_factory.mktemp("sound"))
    place.install(PACKAGE)
    return place.digests()


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_a_digest_is_over_all_that_its_stage_runs_with(
    place: Place, sound_digests: str, edit: Mapping[str, str]
) -> None:
    place.install({**PACKAGE, **edit})
    assert place.digests() != sound_digests


def test_a_digest_is_over_nothing_else_and_of_no_place(place: Place, sound_digests: str) -> None:
    place.install(PACKAGE, *NO_EDITS.values())
    assert place.digests() == sound_digests != "[]"


def test_the_version_that_is_recorded_is_the_first_with_that_code(place: Place) -> None:
    place.install(PACKAGE)
    place.recast("sync")
    place.install({"recast_texts-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: Recast_Texts\nVersion: 1.3\n"})
    assert place.recast("sync") == (0, "")
    place.install(NO_EDITS["another target"])
    code, said = place.recast("sync", "--check")
    assert code == 2 and "recast.lock does not hold what the plugins provide; run 'recast sync' and commit" in said
    place.install({"texts/words.py": "WORDS = 2\n"})
    code, said = place.recast("sync", "--check")
    assert code == 2 and "(recast-texts was 1.2 and is 1.3)" in said
    place.recast("sync")
    assert place.record()["plugins"]["recast-texts"]["version"] == "1.3"


def test_what_a_plugin_imports_of_the_repository_is_a_dependency(place: Place) -> None:
    place.install(PACKAGE)
    (place.root / "stages/common").mkdir(parents=True)
    for name in ("recast/__init__.py", "stages/__init__.py", "stages/common/spelling.py"):
        (place.root / name).parent.mkdir(exist_ok=True)
        (place.root / name).write_text("")
    code = "from pathlib import Path; from recast.pipeline.planning.make_plan import make_plan; "
    code += "print(make_plan(Path(), ['r']).stages['r/text/emit'].code)"
    assert place.python(code) == "('stages/__init__.py', 'stages/common/spelling.py')"


def test_a_package_adds_a_dataset_whose_digest_is_in_the_key_of_what_reads_it(place: Place) -> None:
    place.install(DATASET)
    (place.root / "recipes/r.yaml").write_text("extends: base\nstages: {data: {dataset: triangles}}\n")
    code, said = place.recast("sync")
    assert code == 0 and "wrote recast.lock" in said, said
    assert (place.root / "recast.lock").read_text().endswith("    datasets:\n    - triangles\n")
    text = (place.root / "dvc.yaml").read_text()
    entry = text[text.index("  r-data:") : text.index("    outs:\n    - artifacts/r/data")]
    assert "- recast.lock:\n      - datasets.triangles\n" in entry and text.count("recast.lock") == 1
    assert '"triangles"' in (place.root / "recipes/schema.json").read_text()
    (place.site / "shapes-0.1.dist-info/entry_points.txt").unlink()
    code, said = place.recast("check", "r")
    assert code == 2 and said.startswith(
        "recipes/r.yaml:2:17: the dataset 'triangles' is provided by the plugin shapes 0.1, which is not installed; "
    ), said


def test_a_plugin_that_is_recorded_and_not_installed_is_named(place: Place) -> None:
    place.install(PACKAGE)
    place.recast("sync")
    (place.site / "recast_texts-1.2.dist-info/entry_points.txt").unlink()
    code, said = place.recast("check", "r")
    assert code == 2 and said.splitlines()[0] == (
        "recipes/r.yaml:2:45: the target 'text' is provided by the plugin recast-texts 1.2, which is not installed; "
        "install it beside Recast, for example with 'pip install recast-texts==1.2'"
    )
    (place.root / "recipes/targets/own.yaml").write_text("uses: {emit: text.emit}\nstages: {emit: {}}\n")
    (place.root / "recipes/r.yaml").write_text("extends: base\ntargets: {own: {}}\n")
    code, said = place.recast("check", "r")
    assert code == 2 and "recipes/targets/own.yaml:1:8: the stage 'text.emit' is provided by the plugin" in said
    for damaged in ("plugins: [", "stages: {data: 1}", "plugins: {a: b}", "- x", "plugins: [x]"):
        (place.root / "recast.lock").write_text(damaged)
        code, said = place.recast("check", "r")
        assert (code, said) == (
            2,
            "recast: recast.lock cannot be read; restore it from git, or delete it and run './recast sync'\n",
        )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("targets: {texxxt: {}}", "no target named 'texxxt' in recipes/targets/"),
        ("stages: {data: {dataset: pentagons}}", "no dataset named 'pentagons'"),
        ("targets: {own: {}}", "no registered stage named 'someones.emit'"),
    ],
)
def test_what_no_installed_plugin_provides_is_said_to_be_so(place: Place, recipe: str, message: str) -> None:
    place.install(DATASET)
    (place.root / "recipes/targets/own.yaml").write_text("uses: {emit: someones.emit}\nstages: {emit: {}}\n")
    (place.root / "recipes/r.yaml").write_text(f"extends: base\n{recipe}\n")
    code, said = place.recast("check", "r")
    assert code == 2 and f"{message}, and no installed plugin provides it; known: " in said
    assert said.splitlines()[0].endswith("; installed plugins: shapes 0.1")


def test_the_record_keeps_what_only_a_broken_recipe_uses(place: Place) -> None:
    place.install(PACKAGE)
    place.recast("sync")
    (place.site / "recast_texts-1.2.dist-info/entry_points.txt").unlink()
    before = (place.root / "recast.lock").read_text()
    code = "from pathlib import Path; from recast.pipeline.dvc import plugin_lock; "
    code += "from recast.pipeline.planning.partial_plan import make_sound_plan; "
    code += "plan = make_sound_plan(Path(), ['base']); print(plan.broken, [plugin_lock.write(Path(), plan)])"
    assert place.python(code) == "('r',) ['']"
    assert (place.root / "recast.lock").read_text() == before


REFUSED = {
    "fails to import": (
        changed(init="import no_such_vendor\n"),
        "recast: the plugin recast-texts 1.2 cannot be loaded for 'text': texts:PLUGIN: ModuleNotFoundError: No module "
        "named 'no_such_vendor'; mend or upgrade it, or 'pip uninstall recast-texts'\n",
    ),
    "ends the process": (changed(init="raise SystemExit(3)\n"), "texts:PLUGIN: SystemExit: 3; mend"),
    "is none": (changed(init="PLUGIN = 1\n"), "'text': texts:PLUGIN is no recast.stages.plugin.Plugin; mend"),
    "has no such attribute": (changed(init=""), "AttributeError: module 'texts' has no attribute 'PLUGIN'; mend"),
    "has a stage of no target": (
        changed(init=INIT.replace("text.emit", "emit")),
        "'emit' is no name for a stage: it must be TARGET.STAGE; mend",
    ),
    "lacks what its entry point names": (
        changed(points="[recast.targets]\ntxt = texts:PLUGIN\n"),
        "recast-texts 1.2 names the target 'txt' in its entry points, and texts:PLUGIN has none of that name; mend",
    ),
    "keeps its sets elsewhere": (
        changed(init=INIT.replace('HERE / "targets"', "HERE.parent")),
        "site is no folder of its package; mend",
    ),
    "registers one of Recast's stages": (
        changed(init=INIT.replace("text.emit", "akida.emit")),
        "recast: the plugin recast-texts 1.2 registers the stage 'akida.emit', which Recast registers already; "
        "uninstall 'recast-texts', or ask its authors for another name\n",
    ),
    "registers one of Recast's environments": (
        {**PACKAGE, "texts/envs/torch.txt": "# python: 3.11\n"},
        "registers the environment 'torch', which Recast registers already",
    ),
    "names two objects": (
        changed(
            init=f"{INIT}OTHER = PLUGIN\n",
            points="[recast.targets]\ntext = texts:PLUGIN\n[recast.verbs]\nread-out = texts:OTHER\n",
        ),
        "the plugin recast-texts 1.2 names texts:OTHER and texts:PLUGIN, not one Plugin; mend",
    ),
    "registers one of Recast's datasets": (
        {**DATASET, "shapes-0.1.dist-info/entry_points.txt": "[recast.sources]\ndigits = shapes:read\n"},
        "the plugin shapes 0.1 registers the dataset 'digits', which Recast registers already",
    ),
    "reads a dataset by another package": (
        {**PACKAGE, "texts-2.dist-info/METADATA": "", **DATASET}
        | {"shapes-0.1.dist-info/entry_points.txt": "[recast.sources]\na = shapes:read\nb = texts:read\n"},
        "the plugin shapes 0.1 reads the dataset 'b' by texts:read, which is not in its package shapes; mend",
    ),
    "registers what another does": (
        {
            **PACKAGE,
            "others.py": "from recast.stages.plugin import Entry, Plugin\n"
            "PLUGIN = Plugin(stages={'text.emit': Entry('others', 'onnx')})\n",
            "others-3.dist-info/METADATA": "Metadata-Version: 2.1\nName: others\nVersion: 3\n",
            "others-3.dist-info/entry_points.txt": "[recast.stages]\ntext.emit = others:PLUGIN\n",
        },
        "the plugin recast-texts 1.2 registers the stage 'text.emit', which others 3 registers already",
    ),
}


@pytest.mark.parametrize(("package", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_plugin_that_cannot_be_used_is_named(place: Place, package: Mapping[str, str], message: str) -> None:
    place.install(package)
    for command in (("check", "r"), ("--help",)):
        code, said = place.recast(*command)
        assert code == 2 and message in said and "Traceback" not in said, said


def test_a_module_of_a_plugin_that_cannot_be_used_is_named(place: Place) -> None:
    place.install({**PACKAGE, "texts/emit.py": "import no_such_vendor\n", "texts/verb.py": "VERB = 1\n"})
    code, said = place.recast("check", "r")
    assert (code, said) == (
        2,
        "recast: the plugin recast-texts 1.2 cannot give the stage 'text.emit': ModuleNotFoundError: No module named "
        "'no_such_vendor'; mend or upgrade it, or 'pip uninstall recast-texts'\n",
    )
    code, said = place.recast("read-out")
    assert code == 2 and "cannot give the verb 'read-out': TypeError: texts.verb.VERB is not a Verb; mend" in said


def test_a_verb_of_recasts_own_is_not_replaced(place: Place) -> None:
    points = "[recast.verbs]\ncheck = texts:PLUGIN\n"
    place.install(changed(init=INIT.replace("read-out", "check"), points=points))
    code, said = place.recast("--help")
    assert (code, said) == (
        2,
        "recast: a plugin registers the verb 'check', which is Recast's own; uninstall that plugin\n",
    )


def test_entry_points_are_not_read_by_what_must_be_quick(place: Place) -> None:
    """A run with nothing to do, and the start of one."""
    place.install(changed(init="raise SystemExit('it was imported')\n"))
    said = place.python(
        "import recast.pipeline.cli.main, recast.pipeline.execution.start; print('texts' in sys.modules)"
    )
    assert said == "False"
