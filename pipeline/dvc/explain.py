"""Why a stage would run, be restored or be left alone.

DVC's judgement, taken apart: `dvc.lock` beside what is there now, stage by stage in running order. What
a stage would read is known where everything before it is up to date or would be restored; behind a
stage that runs, nobody can know whether the rest runs too. Nothing is changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from recast.pipeline.core.layout import DEVICE, DEVICE_STAGE, DEVICES, GUARD, METRICS, PINS, RECORD
from recast.pipeline.core.listed import listed
from recast.pipeline.core.pins import LOCKS
from recast.pipeline.dvc import cpu_kind
from recast.pipeline.dvc.differences import ABSENT, differences, leaves
from recast.pipeline.dvc.dvcfile import GUARD_TEXT
from recast.pipeline.dvc.explain_report import Explanation, Kind, Reason, Verdict, as_json, as_text, counted
from recast.pipeline.dvc.inspection import Compared, Content, Sight
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.planning.plan import Plan, PlannedStage

__all__ = ["Explanation", "Kind", "Reason", "Verdict", "as_json", "as_text", "explain", "explain_steps", "wanted"]

_CALLED: dict[Kind, str] = {
    "model": "the model's code ",
    "code": "the stage's code ",
    "environment": "the environment's pin file ",
    "device": "the device ",
    "data": "the data ",
    "file": "",
}


def wanted(plan: Plan, what: str) -> tuple[str, tuple[str, ...]]:
    """The recipe and the ids to explain that `RECIPE[/TARGET][/STAGE]` means.

    The ids of a whole recipe end with the stage that gathers its results and the guard. Raises RecastError for
    unknown names.
    """
    address = plan.locate(what)
    gathering = (address.recipe, GUARD) if not address.within else ()
    return address.recipe, (*plan.ids(address), *gathering)


def explain(repository: Repository, plan: Plan, ids: Sequence[str] | None = None) -> list[Explanation]:
    """Explain the stages with these ids (recipes and the guard count as stages), or all, in running order.

    The guard comes last, though it runs first: no other stage runs because of it. dvc.yaml must be that of the plan.
    Raises RecastError where DVC cannot read the repository.
    """
    asked = [*plan.stages, *plan.recipes, GUARD] if ids is None else list(ids)
    with repository.locked():
        steps = repository.steps([plan.stages[id].dvc_name if id in plan.stages else id for id in asked])
        found = explain_steps(repository, steps, plan)
    chosen = [explanation for explanation in found if explanation.stage in asked]
    chosen.sort(key=lambda explanation: explanation.stage == GUARD)
    return _with_causes(chosen, {explanation.stage: explanation for explanation in found})


def states(root: Path, plan: Plan) -> dict[str, str]:
    """What a run would do with each stage of the plan, in the words of `explain.Verdict`. Runs nothing."""
    repository = Repository(root, lambda text: None)
    try:
        return {one.stage: one.verdict.value for one in explain(repository, plan, tuple(plan.stages))}
    finally:
        repository.close()


def explain_steps(repository: Repository, steps: Sequence[Step], plan: Plan | None = None) -> list[Explanation]:
    """Explain each of these steps, which must come after all they read; call it while `repository.locked()`."""
    judge = _Judge(repository, plan)
    return [judge.explanation(step) for step in steps]


def _with_causes(chosen: Iterable[Explanation], every: Mapping[str, Explanation]) -> list[Explanation]:
    """Where a stage that runs first is not itself among those asked for, say why it runs."""
    chosen = list(chosen)
    shown = {explanation.stage for explanation in chosen}

    def with_cause(reason: Reason) -> Reason:
        if reason.kind != "upstream" or reason.subject in shown:
            return reason
        causes = every[reason.subject].reasons
        more = f" (and {counted(len(causes) - 1, 'other reason')})" if len(causes) > 1 else ""
        return replace(reason, text=f"{reason.text}: {causes[0].text}{more}")

    return [replace(one, reasons=tuple(map(with_cause, one.reasons))) for one in chosen]


class _Judge:
    """Judges steps one after the other, and knows for each what it leaves behind."""

    def __init__(self, repository: Repository, plan: Plan | None) -> None:
        self._root = repository.root
        self._inspection = repository.inspection
        self._planned = {stage.dvc_name: stage for stage in plan.stages.values()} if plan else {}
        self._has_guard = plan is not None
        self._hashed: dict[str, Content | None] = {}
        self._outs: dict[str, tuple[str, ...]] = {}
        self._restored: dict[str, Mapping[str, Content]] = {}
        # a step that may run -> those that surely do and that what reads it waits for: itself, or those it follows
        self._runs: dict[str, tuple[str, ...]] = {}
        # a step that surely runs -> all such steps before it
        self._before: dict[str, set[str]] = {}

    def _id(self, name: str) -> str:
        return self._planned[name].id if name in self._planned else name

    def explanation(self, step: Step) -> Explanation:
        sight = self._inspection.sight(step, self._hashed)
        self._outs[step.name] = tuple(item.path for item in sight.writes)
        contents, changed, runs = self._inputs(step, sight)
        own = [*_itself(step, sight), *(_params(sight) if sight.recorded else ()), *changed]
        as_recorded = not own
        own += self._outputs(sight) if sight.recorded else ()
        intact = list(self._intact(sight)) if sight.recorded else []
        verdict = Verdict.RUN if own else Verdict.FOLLOWS if runs else Verdict.UP_TO_DATE
        if own and not runs and len(contents) == len(sight.reads):
            result = self._inspection.cached_result(step, contents, as_recorded=as_recorded)
            if result and result.complete:
                verdict = Verdict.RESTORED
                self._restored[step.name] = result.outs
            elif result and not any(reason.kind in ("cache", "damaged") for reason in own):
                bad = f"{listed(result.damaged)} {_is(result.damaged)} damaged" if result.damaged else ""
                text = f"the cache knows the result, but {bad or 'some of its files are gone'}"
                own.append(Reason("cache", self._id(step.name), text))
        if verdict is Verdict.FOLLOWS:
            self._runs[step.name] = runs
        elif verdict is Verdict.RUN:
            self._runs[step.name] = (step.name,)
            self._before[step.name] = set(runs).union(*(self._before.get(name, ()) for name in runs))
        gone = list(_gone_params(sight))
        if own:
            own += [*gone, *self._gone_reads(step, sight)]
        elif not runs:
            own = [*intact, *gone]
        waits = [Reason("upstream", self._id(name), f"depends on {self._id(name)}, which runs first") for name in runs]
        cpu = self._cpu(step, sight, verdict)
        return Explanation(self._id(step.name), verdict, (*own, *waits), self._compared(step, sight), cpu)

    def _cpu(self, step: Step, sight: Sight, verdict: Verdict) -> str:
        """The kind of CPU the result was measured on that is there, or else the one that the cache has of it."""
        planned = self._planned.get(step.name)
        if planned is None:
            return ""
        there = "" if verdict is Verdict.RESTORED else cpu_kind.of_output(self._root / planned.out)
        recorded = next((item.then for item in sight.writes if item.path == planned.out), None)
        result = self._restored.get(step.name, {}).get(planned.out, recorded)
        cached = self._inspection.recorded_content(result, METRICS) if result and not there else None
        return there or cpu_kind.in_metrics(cached or b"")

    # -- what it reads

    def _inputs(self, step: Step, sight: Sight) -> tuple[dict[str, Content], list[Reason], tuple[str, ...]]:
        """What it would find by path, how that differs from what is recorded, and the stages that must run to know."""
        contents: dict[str, Content] = {}
        reasons: list[Reason] = []
        runs: dict[str, None] = {}
        for item in () if sight.frozen else sight.reads:
            content, first = self._expected(step, item)
            runs |= dict.fromkeys(first)
            if content:
                contents[item.path] = content
            if not first and content != item.then and (sight.recorded or content is None):
                reasons.append(self._read(step, item, content))
        # the user's own edits first, in the order the kinds are listed in
        reasons.sort(key=lambda reason: get_args(Kind).index(reason.kind))
        # what a later one waits for anyway need not be said
        implied = set().union(*(self._before.get(name, ()) for name in runs))
        return contents, reasons, tuple(name for name in runs if name not in implied)

    def _expected(self, step: Step, item: Compared) -> tuple[Content | None, tuple[str, ...]]:
        """What the step would find at the path when its turn comes, or the stages that must have run to know it."""
        makers = self._makers(step, item.path)
        if self._has_guard and makers == [GUARD]:
            return item.then or Content(_md5(GUARD_TEXT)), ()  # its output is always the same
        runs = tuple(name for maker in makers for name in self._runs.get(maker, ()))
        if runs:
            return None, runs
        for maker in makers:
            outs = self._restored.get(maker, {})
            if item.path in outs:
                return outs[item.path], ()
            # a part of an output, or a folder around several
            if any(self._hashed[path] != content for path, content in outs.items()):
                return None, (maker,)
        return item.now, ()

    def _makers(self, step: Step, path: str) -> list[str]:
        """The steps that write the path, something in it, or a folder around it.

        Not the one that writes device.txt, which leaves what people have chosen as it is.
        """
        return [
            name
            for name in step.reads
            if name != DEVICE_STAGE
            and any(f"{path}/".startswith(f"{out}/") or out.startswith(f"{path}/") for out in self._outs.get(name, ()))
        ]

    def _read(self, step: Step, item: Compared, content: Content | None) -> Reason:
        makers = self._makers(step, item.path)
        if makers and content:
            maker = self._id(makers[0])
            if item.then is None:
                return Reason("input", maker, f"{maker} is a new input")
            comes = "comes back from the cache with" if makers[0] in self._restored else "has"
            inside = self._inside(item.then, content)
            return Reason("input", maker, f"{maker} {comes} another output than last time{inside}")
        kind = self._kind(step, item.path)
        called = f"{_CALLED[kind]}{item.path}{'/' if _is_folder(item.then or content) else ''}"
        if content is None:
            return Reason(kind, item.path, f"{called} is missing, and the stage cannot run without it")
        if item.then is None:
            return Reason(kind, item.path, f"{called} is new")
        if kind == "device" and (device := _device(item.then)):
            now = _device(content)
            return Reason(kind, item.path, f"the device was {device}, is {now or 'another'} ({DEVICE})", device, now)
        if self._has_guard and step.name == GUARD:
            return Reason(kind, item.path, f"{called} was edited; it only checks that dvc.yaml still matches")
        return Reason(kind, item.path, f"{called} was edited{self._inside(item.then, content)}")

    def _kind(self, step: Step, path: str) -> Kind:
        planned = self._planned.get(step.name)
        if planned is None:
            return "file"
        if path == DEVICE:
            return "device"
        if path in planned.files.values():
            return "data"
        if path.startswith((f"{PINS}/", f"{LOCKS}/")):
            return "environment"
        if not path.endswith(".py") and path not in planned.code:
            return "file"
        model = _model_folder(planned)
        return "model" if model and path.startswith((f"{model}/", f"{model}.py")) else "code"

    def _gone_reads(self, step: Step, sight: Sight) -> Iterator[Reason]:
        for path in sight.dropped_reads:
            kind = self._kind(step, path)
            yield Reason(kind, path, f"{_CALLED[kind]}{path} is no longer read")

    # -- what it wrote

    def _outputs(self, sight: Sight) -> Iterator[Reason]:
        for item in sight.writes:
            if item.then is None:
                yield Reason("output", item.path, f"its output {item.path} is not recorded in dvc.lock")
                continue
            if item.now is None:
                yield Reason("output", item.path, f"its output {item.path} is missing")
            elif item.now != item.then:
                inside = self._inside(item.then, item.now)
                yield Reason("output", item.path, f"its output {item.path} was edited by hand{inside}")
            if item.damaged and item.now != item.then:
                text = f"{listed(item.damaged)} {_is(item.damaged)} damaged in the cache"
                yield Reason("damaged", item.path, text)
            elif not item.in_cache and not item.damaged:
                yield Reason("cache", item.path, f"its output {item.path} is not (or not whole) in the cache")

    def _intact(self, sight: Sight) -> Iterator[Reason]:
        for item in sight.writes:
            if item.damaged and item.now == item.then:
                damaged = f"{listed(item.damaged)} {_is(item.damaged)} damaged in the cache"
                yield Reason("damaged", item.path, f"{damaged}; a run puts back what lies in the workspace")

    def _inside(self, then: Content, now: Content) -> str:
        """Which files of a folder differ, as the end of a sentence; nothing for a file."""
        if not _is_folder(then):
            return ""
        before = self._inspection.recorded_files(then)
        after = now.files if now.files is not None else self._inspection.recorded_files(now)
        if before is None or after is None:
            return " (which of its files is unknown: the cache has no list of them)"
        groups = {
            "changed": [path for path in after if path in before and before[path] != after[path]],
            "added": [path for path in after if path not in before],
            "deleted": [path for path in before if path not in after],
        }
        return ": " + "; ".join(f"{word} {listed(paths)}" for word, paths in groups.items() if paths)

    def _compared(self, step: Step, sight: Sight) -> str:
        inputs = [maker for item in sight.reads for maker in self._makers(step, item.path) if maker != GUARD]
        params = sum(leaves(values or {}) for _, values in sight.params.values())
        files = [item for item in sight.reads if not self._makers(step, item.path)]
        parts = [counted(number, what) for number, what in ((params, "param"), (len(files), "file")) if number]
        return ", ".join([*parts, *(self._id(name) for name in dict.fromkeys(inputs))])


def _itself(step: Step, sight: Sight) -> Iterator[Reason]:
    if not sight.recorded:
        yield Reason("never run", step.name, "dvc.lock has no entry for it, as if it had never run")
    if sight.runs_always:
        yield Reason("always", step.name, "it always runs: DVC is told so, or it neither reads nor writes anything")
    for difference in differences("its command", sight.command_then, sight.command) if sight.recorded else ():
        yield Reason("command", step.name, str(difference), difference.before, difference.after)


def _params(sight: Sight) -> Iterator[Reason]:
    for file, (before, after) in () if sight.frozen else sight.params.items():
        if after is None:
            yield Reason("param", file, f"{file} is missing, and the stage cannot run without it")
            continue
        for key in dict.fromkeys([*after, *before]):
            for found in differences(key, before.get(key, ABSENT), after.get(key, ABSENT)):
                # a digest says nothing to people
                said = f"installed code that it runs with is another ({found.key} in {file})"
                kind: Kind = "code" if file == RECORD else "param"
                text = said if file == RECORD else f"{found} ({file})"
                yield Reason(kind, f"{file}:{found.key}", text, found.before, found.after)


def _gone_params(sight: Sight) -> Iterator[Reason]:
    for file, values in sight.dropped.items():
        for key, value in values.items():
            for found in differences(key, value, ABSENT):
                yield Reason("param", f"{file}:{found.key}", f"{found} ({file})", found.before, found.after)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _is_folder(content: Content | None) -> bool:
    return content is not None and content.hash.endswith(".dir")


def _device(content: Content) -> str | None:
    """The device that a device.txt of this content names."""
    return {_md5(f"{name}\n"): name for name in DEVICES}.get(content.hash)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _model_folder(planned: PlannedStage) -> str:
    """The top package or module of the model the stage's params name; empty if they name none."""
    model = planned.params.get("model")
    name = model.get("name", "") if isinstance(model, Mapping) else model or ""
    return str(name).split(":")[0].split(".")[0]
