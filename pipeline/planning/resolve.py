"""Which stage a name means for a recipe and a target: sharing by reference, private branches, layers.

Values resolve in this order, later ones winning per param:
Python default < params.yaml < recipes/targets/<target>.yaml < base recipe < recipe < target override.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from recast.pipeline.core import address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import DEFAULTS, RECORD
from recast.pipeline.planning.installed_code import CodeOfStages, StageCode
from recast.pipeline.planning.labels import labels_of
from recast.pipeline.planning.named_code import check_named
from recast.pipeline.planning.named_model import check_model
from recast.pipeline.planning.params import check_files, validate_params
from recast.pipeline.planning.plan import PlannedRecipe, PlannedStage, reachable
from recast.pipeline.planning.value_layer import Layer
from recast.pipeline.recipes.defaults import code_settings
from recast.pipeline.recipes.document import Document, KeyPath
from recast.pipeline.recipes.own_packages import OwnPackages
from recast.pipeline.recipes.plugin_record import missing, unknown
from recast.pipeline.recipes.recipe import Recipe, Recipes
from recast.pipeline.recipes.value_words import shortened
from recast.stages import datasets
from recast.stages.base import Stage
from recast.stages.common.spelling import nearest
from recast.stages.datasets import NamesDataset
from recast.stages.registry import REGISTRY, TRUNK, TRUNKS, load, refusal


class Resolver:
    """Gathers the stages of recipes; problems gather in `recipes.problems`."""

    def __init__(self, root: Path, drafts: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.recipes = Recipes(root, drafts)
        self.problems = self.recipes.problems
        self.stages: dict[str, PlannedStage] = {}
        self.planned: dict[str, PlannedRecipe] = {}
        self._resolved: dict[tuple[str, str | None, str], str | None] = {}
        self._code = CodeOfStages(root, self.recipes.code)
        self._locks: set[str] = set()

    def add_all(self) -> None:
        """Resolve every recipe of the repository; RecastError if there is none."""
        self.recipes.check_file_names()
        self.add(self.recipes.names())
        if not self.planned and not self.problems:
            raise RecastError("there are no recipes in recipes/", "add one; docs/recipes.md shows how")

    def add_named(self, names: Iterable[str]) -> None:
        """Resolve the named recipes; RecastError for a name without a file."""
        for name in names:
            self._add(self.recipes.require(name))

    def add(self, names: Iterable[str]) -> None:
        """Resolve recipes by the names of their files, whether or not these are fit to be recipes' names."""
        for name in names:
            self._add(self.recipes.recipe(name))

    def _add(self, recipe: Recipe | None) -> None:
        if recipe is None:
            return
        trunk_names = self._trunk(recipe)
        self._refuse_unused(recipe, trunk_names)
        trunk = {name: self._resolve(recipe, None, name) for name in trunk_names}
        targets = {}
        for target in recipe.target_names:
            if self._check_edges(recipe, target):
                ids = {name: self._resolve(recipe, target, name) for name in (*trunk_names, *self._own(target))}
                targets[target] = {name: id for name, id in ids.items() if id and id not in trunk.values()}
                self._refuse_unheld(recipe, target, {name: id for name, id in ids.items() if id})
        if not recipe.target_names:
            remedy = f"add 'targets: {{NAME: {{}}}}'; known: {', '.join(self.recipes.known_targets())}"
            self.problems.append(recipe.document.problem(("targets",), "the recipe has no target", remedy))
        wanted = (id for stages in targets.values() for id in stages.values())
        needed = reachable(wanted, lambda id: self.stages[id].inputs.values())
        shared = {name: id for name, id in trunk.items() if id and id in needed}
        self.planned[recipe.name] = PlannedRecipe(recipe.name, shared, targets)

    def _trunk(self, recipe: Recipe) -> tuple[str, ...]:
        """The recipe's trunk in running order, of those that have most of the stages that the files speak of.

        The file nearest to the recipe has the first say, those that it extends decide between what it leaves open.
        """
        possible = list(TRUNKS)
        for ancestor in reversed(recipe.chain):
            says = ancestor.says(("stages",)).keys() | ({"model"} & ancestor.document.values.keys())
            has = {trunk: sum(_weight(name) for name in _speaks_of(trunk) & says) for trunk in possible}
            possible = [trunk for trunk in possible if has[trunk] == max(has.values())]
        return possible[0]

    def _refuse_unused(self, recipe: Recipe, trunk: tuple[str, ...]) -> None:
        """Report what this recipe's file says about trunk stages the recipe does not have: it would do nothing."""
        said: dict[KeyPath, object] = {("stages",): recipe.says(("stages",))}
        said |= {("targets", target): says for target, says in recipe.says(("targets",)).items()}
        for path, says in said.items():
            for name in says if isinstance(says, dict) else ():
                if name in TRUNK and name not in trunk:
                    instead = " and ".join(f"'{own}'" for own in _instead(name, trunk))
                    message = f"the recipe has no stage '{name}': it has {instead} instead"
                    self.problems.append(recipe.document.problem((*path, name), message, "keep one of the two"))

    def _refuse_unheld(self, recipe: Recipe, target: str, ids: Mapping[str, str]) -> None:
        """Report a model that the target cannot hold, as far as the recipe tells what it takes and gives."""
        if all(address.recipe_of(id) != recipe.name for id in ids.values()):
            return  # the recipe that it is inherited from has been refused
        params = {name: self.stages[id].params for name, id in ids.items() if name in TRUNK}
        if why := refusal(target, params):
            self.problems.append(recipe.document.problem(("targets", target), *why))

    def _own(self, target: str) -> tuple[str, ...]:
        found = self.recipes.target(target)
        return tuple(found.uses) if found else ()

    def _source(self, recipe: Recipe, target: str | None, wanted: str) -> str | None:
        """The stage that provides the input `wanted`: the target's own, the trunk's, or one that stands for it."""
        if target is not None and wanted in self._own(target):
            return wanted
        return next((name for name in self._trunk(recipe) if wanted in (name, load(name).stands_for)), None)

    def _check_edges(self, recipe: Recipe, target: str) -> bool:
        """Whether every input of the target's stages has a source, and none reads itself in the end."""
        found = self.recipes.target(target)
        if found is None:
            return False
        edges: dict[str, list[str]] = {}
        before = len(self.problems)
        for name, uses in found.uses.items():
            sources = {wanted: self._source(recipe, target, wanted) for wanted in load(uses).inputs}
            edges[name] = [source for source in sources.values() if source]
            for wanted, source in sources.items():
                if source is None:
                    message = f"stage '{name}' reads '{wanted}', which neither this target nor the trunk makes"
                    problem = found.document.problem(("stages", name), message, f"add '{wanted}' to the stages")
                    self.problems.append(problem)
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            cycle = " → ".join(reversed(error.args[1]))
            problem = found.document.problem(("stages",), f"stages read each other: {cycle}", "mend 'uses'")
            self.problems.append(problem)
        return len(self.problems) == before

    def _resolve(self, recipe: Recipe, target: str | None, name: str) -> str | None:
        key = (recipe.name, target, name)
        if key not in self._resolved:
            self._resolved[key] = self._resolve_afresh(recipe, target, name)
        return self._resolved[key]

    def _resolve_afresh(self, recipe: Recipe, target: str | None, name: str) -> str | None:
        """Id of the stage; None if it, or a stage it reads, has problems."""
        if target is not None and name in TRUNK and not self._is_private(recipe, target, name):
            return self._resolve(recipe, None, name)
        found = self.recipes.target(target) if target else None
        uses = name if name in TRUNK else found.uses[name] if found else name
        stage = load(uses)
        inputs = {}
        for wanted in stage.inputs:
            source = self._source(recipe, target, wanted)
            inputs[wanted] = self._resolve(recipe, target, source) if source else None
        layers = list(self._layers(recipe, target, name))
        if "task" in stage.params.model_fields:
            layers += _said_at_the_top(recipe, "task")
        model = _model(recipe) if "model" in stage.params.model_fields else None
        asked = self._asked_packages(recipe, uses) if model else None
        base = recipe.base
        if base and (name in self._trunk(base) if name in TRUNK else target in base.target_names):
            own_layers = [layer for layer in (*layers, *([model] if model else [])) if layer.owner == recipe.name]
            says_something = any(layer.values for layer in own_layers) or (asked and asked.owner == recipe.name)
            reads_own = any(id is None or address.recipe_of(id) == recipe.name for id in inputs.values())
            if not says_something and not reads_own:
                return self._resolve(base, target, name)
        code = self._code.of_stage(target, name, uses, stage, layers)
        for dataset in _datasets(stage, layers):
            code += self._code.of_dataset(dataset)
        tracked = [layer.tracked for layer in layers if not layer.is_a_plugins]
        # sound or not, the params are validated, so that one run reports every problem
        if "model" in stage.params.model_fields:
            code += self._code.of_model(model, self._model_files(recipe, model, uses, asked))
            tracked += [model.tracked] if model else []
            tracked += [(DEFAULTS, key) for key in code_settings(self.recipes.defaults)]
        if packages := asked if asked and asked.requirements else None:
            code += StageCode((packages.lock,))
            if packages.lock not in self._locks:  # looked at once for a plan
                self._locks.add(packages.lock)
                self.problems += filter(None, [packages.problem(self.root)])
        if self._lacks_dataset(stage, layers):
            return None
        params = validate_params(recipe, target, name, stage, layers, model, self.problems)
        labels = labels_of(layers, self.problems)
        if params is None:
            return None
        environment = REGISTRY[uses].environment
        for module in check_named(self.recipes.code, params, layers, environment, asked, self.problems):
            code += self._code.of_module(*module)
        files = check_files(self.root, params, layers, self.problems)
        known = {wanted: id for wanted, id in inputs.items() if id}
        if len(known) < len(inputs):
            return None
        planned = PlannedStage(
            recipe.name,
            target,
            name,
            uses,
            params.model_dump(mode="json"),
            known,
            (*tracked, *((RECORD, key) for key in sorted(code.digests))),
            code.code,
            files,
            stage,
            recipe.isolated,
            code.digests,
            code.plugins,
            code.files,
            self.recipes.code,
            packages.lock if packages else None,
            labels,
        )
        self.stages[planned.id] = planned
        return planned.id

    def _model_files(
        self, recipe: Recipe, model: Layer | None, uses: str, asked: OwnPackages | None
    ) -> tuple[str, ...]:
        return check_model(self.recipes.code, recipe, model, REGISTRY[uses].environment, asked, self.problems)

    def _asked_packages(self, recipe: Recipe, uses: str) -> OwnPackages | None:
        """What is asked for in the stage's environment besides its own packages: by the recipe, or else for all."""
        environment = REGISTRY[uses].environment
        return recipe.packages(environment) or self.recipes.own_packages.get(environment)

    def _lacks_dataset(self, stage: Stage[Any], layers: list[Layer]) -> bool:
        """Whether the stage is to read a dataset that nobody provides, which is reported: a plugin may be missing."""
        lacking = False
        for layer in layers:
            for param in _dataset_params(stage):
                value = layer.values.get(param)
                known = datasets.names()
                if not isinstance(value, str) or value in known:
                    continue
                if nearest(value, known) and not missing(self.root, "dataset", value):
                    continue  # a slip, which is said with all else that is wrong with the params
                lacking = True
                wrong = unknown(self.root, "dataset", shortened(value), known)
                problem = layer.document.problem((*layer.path, param), *wrong)
                if problem not in self.problems:
                    self.problems.append(problem)
        return lacking

    def _is_private(self, recipe: Recipe, target: str, name: str) -> bool:
        """Whether the target overrides this trunk stage, or one before it."""
        trunk = self._trunk(recipe)
        upstream = trunk[: trunk.index(name) + 1]
        return any(layer.values for stage in upstream for layer in self._target_layers(recipe, target, stage))

    def _layers(self, recipe: Recipe, target: str | None, name: str) -> Iterator[Layer]:
        """What every file that mentions a stage says about it, weakest first."""
        if name in TRUNK:
            path: KeyPath = ("stages", name)
            yield from _said(self.recipes.defaults, path, None)
            for ancestor in recipe.chain:
                yield from _said(ancestor.document, path, ancestor.name)
        if target is not None:
            yield from self._target_layers(recipe, target, name)

    def _target_layers(self, recipe: Recipe, target: str, name: str) -> Iterator[Layer]:
        path: KeyPath = ("targets", target, name)
        yield from _said(self.recipes.defaults, path, None)
        if found := self.recipes.target(target):
            yield from _said(found.document, ("stages", name), None, found.is_a_plugins)
        for ancestor in recipe.chain:
            # `akida: false` says nothing about a stage
            if isinstance(ancestor.says(("targets",)).get(target), dict):
                yield from _said(ancestor.document, path, ancestor.name)


def _instead(name: str, trunk: tuple[str, ...]) -> list[str]:
    """What the trunk has where the one that is most like it has the stage of that name."""
    lacking = ([own for own in trunk if own not in other] for other in TRUNKS if name in other)
    return min(lacking, key=len)


@cache
def _weight(name: str) -> int:
    """How much it counts that a recipe speaks of a stage, or of the model.

    One that stands for another is spoken of by those alone who want it in the other's place.
    """
    return 10 if name in TRUNK and load(name).stands_for else 1


@cache
def _speaks_of(trunk: tuple[str, ...]) -> frozenset[str]:
    """What a recipe says for the sake of this trunk: its stages, and the model if one of them takes it."""
    takes_model = any("model" in load(name).params.model_fields for name in trunk)
    return frozenset([*trunk, *(["model"] if takes_model else ())])


def _dataset_params(stage: Stage[Any]) -> list[str]:
    fields = stage.params.model_fields.items()
    return [name for name, info in fields if any(isinstance(mark, NamesDataset) for mark in info.metadata)]


def _datasets(stage: Stage[Any], layers: list[Layer]) -> Iterator[str]:
    """The datasets that the stage is to read."""
    for name in _dataset_params(stage):
        said = [layer.values[name] for layer in layers if name in layer.values]
        if said and isinstance(said[-1], str):
            yield said[-1]


def _said(document: Document, path: KeyPath, owner: str | None, is_a_plugins: bool = False) -> Iterator[Layer]:
    # a mapping that is there but empty is a layer too: DVC then sees what is written into it later
    if path in document.positions:
        yield Layer(document, path, document.section(path, []), owner, is_a_plugins)


def _model(recipe: Recipe) -> Layer | None:
    """The model the recipe names, its own or an inherited one."""
    for layer in _said_at_the_top(recipe, "model"):
        says = layer.values["model"]
        values = {"model": {"name": says} if isinstance(says, str) else says}
        return Layer(layer.document, ("model",), values, layer.owner)
    return None


def _said_at_the_top(recipe: Recipe, key: str) -> list[Layer]:
    """What the recipe says once for all its stages, in its own file or in an inherited one; empty if nothing."""
    for ancestor in reversed(recipe.chain):
        if key in ancestor.document.values:
            return [Layer(ancestor.document, (), {key: ancestor.document.values[key]}, ancestor.name)]
    return []
