"""Which stage a name means for a recipe and a target: sharing by reference, private branches, layers.

Values resolve in this order, later ones winning per param:
Python default < params.yaml < recipes/targets/<target>.yaml < base recipe < recipe < target override.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from pipeline.closure import import_closure
from pipeline.document import Document, KeyPath
from pipeline.errors import RecastError
from pipeline.layer import Layer
from pipeline.named_model import check_model
from pipeline.params import check_files, validate_params
from pipeline.plan import PlannedRecipe, PlannedStage, reachable
from pipeline.recipe import Recipe, Recipes
from stages.registry import REGISTRY, TRUNK, load

TRAINED = ("data", "train", "export", "simplify")
IMPORTED = ("data", "import", "simplify")


class Resolver:
    """Gathers the stages of recipes; problems gather in `recipes.problems`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipes = Recipes(root)
        self.problems = self.recipes.problems
        self.stages: dict[str, PlannedStage] = {}
        self.planned: dict[str, PlannedRecipe] = {}
        self._resolved: dict[tuple[str, str | None, str], str | None] = {}

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
        if not recipe.target_names:
            remedy = f"add 'targets: {{NAME: {{}}}}'; known: {', '.join(self.recipes.known_targets())}"
            self.problems.append(recipe.document.problem(("targets",), "the recipe has no target", remedy))
        wanted = (id for stages in targets.values() for id in stages.values())
        needed = reachable(wanted, lambda id: self.stages[id].inputs.values())
        shared = {name: id for name, id in trunk.items() if id and id in needed}
        self.planned[recipe.name] = PlannedRecipe(recipe.name, shared, targets)

    def _trunk(self, recipe: Recipe) -> tuple[str, ...]:
        """The recipe's trunk in running order; the file nearest to the recipe decides between train and import."""
        for ancestor in reversed(recipe.chain):
            says = ancestor.says(("stages",))
            if "import" in says:
                return IMPORTED
            if "train" in says or "export" in says or "model" in ancestor.document.values:
                break
        return TRAINED

    def _refuse_unused(self, recipe: Recipe, trunk: tuple[str, ...]) -> None:
        """Report what this recipe's file says about trunk stages the recipe does not have: it would do nothing."""
        said: dict[KeyPath, object] = {("stages",): recipe.says(("stages",))}
        said |= {("targets", target): says for target, says in recipe.says(("targets",)).items()}
        instead = "'import' takes their place" if "import" in trunk else "it has 'train' and 'export'"
        for path, says in said.items():
            for name in says if isinstance(says, dict) else ():
                if name in TRUNK and name not in trunk:
                    message = f"the recipe has no stage '{name}': {instead}"
                    self.problems.append(recipe.document.problem((*path, name), message, "keep one of the two"))

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
        model = _model(recipe) if "model" in stage.params.model_fields else None
        base = recipe.base
        if base and (name in self._trunk(base) if name in TRUNK else target in base.target_names):
            own_layers = [layer for layer in (*layers, *([model] if model else [])) if layer.owner == recipe.name]
            says_something = any(layer.values for layer in own_layers)
            reads_own = any(id is None or id.startswith(f"{recipe.name}/") for id in inputs.values())
            if not says_something and not reads_own:
                return self._resolve(base, target, name)
        code = [f"envs/{REGISTRY[uses].environment}.txt", *import_closure(self.root, REGISTRY[uses].module)]
        tracked = [layer.tracked for layer in layers]
        # sound or not, the params are validated, so that one run reports every problem
        if "model" in stage.params.model_fields:
            code += check_model(self.root, recipe, model, self.problems)
            tracked += [model.tracked] if model else []
        params = validate_params(recipe, target, name, stage, layers, model, self.problems)
        if params is None:
            return None
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
            tuple(tracked),
            tuple(sorted(set(code))),
            files,
            stage,
            recipe.isolated,
        )
        self.stages[planned.id] = planned
        return planned.id

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
            yield from _said(found.document, ("stages", name), None)
        for ancestor in recipe.chain:
            # `akida: false` says nothing about a stage
            if isinstance(ancestor.says(("targets",)).get(target), dict):
                yield from _said(ancestor.document, path, ancestor.name)


def _said(document: Document, path: KeyPath, owner: str | None) -> Iterator[Layer]:
    # a mapping that is there but empty is a layer too: DVC then sees what is written into it later
    if path in document.positions:
        yield Layer(document, path, document.section(path, []), owner)


def _model(recipe: Recipe) -> Layer | None:
    """The model the recipe names, its own or an inherited one."""
    for ancestor in reversed(recipe.chain):
        if "model" in ancestor.document.values:
            says = ancestor.document.values["model"]
            values = {"model": {"name": says} if isinstance(says, str) else says}
            return Layer(ancestor.document, ("model",), values, ancestor.name)
    return None
