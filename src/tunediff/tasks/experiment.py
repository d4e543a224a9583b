"""Read and check params.yaml with the rules of its tasks, and derive the settings of each stage.

experiment = read_experiment(Path("params.yaml"))
experiment.params.train.learning_rate                # 0.0005, also where the file says "5e-4"
experiment.task.labels, experiment.also["mnli"].labels
settings_of(experiment)["train"]                     # data/settings/train.json without the hash of its code
"""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from tunediff.config.engine import KINDS, MACHINE_KEYS
from tunediff.config.grade import GRADERS
from tunediff.config.loading import nearest, read_params
from tunediff.config.model import ORIGINS
from tunediff.config.params import Params
from tunediff.config.rules import PROMPT_RULES, RULES, NotValidError, Rule, broken, valid
from tunediff.config.settings import (
    CODE,
    BaseModelSettings,
    CountSettings,
    DiffSettings,
    FeaturesSettings,
    HeadInputs,
    MachineSettings,
    PrepareSettings,
    ReportSettings,
    TrainSettings,
)
from tunediff.config.tuned import TUNED
from tunediff.inputs.settings import HEADLINE, CaseSet, PredictSettings
from tunediff.runtime.closure import code_of
from tunediff.runtime.files import read_text
from tunediff.runtime.hashing import files_hash
from tunediff.tasks import TASKS, task_of
from tunediff.tasks.evaluation import EvalSettings, GradedSet
from tunediff.tasks.task import Task


def _known(key: str, names: Collection[str]) -> Rule:
    """The rule that the value of a key is in its registry, checked here because a stage would fail only at run time."""

    def rule(params: Params) -> str | None:
        name = attrgetter(key)(params)
        return None if name in names else f"{key}: found '{name}', expected {', '.join(names)}{nearest(name, names)}"

    return rule


_NAMED = (_known("model.source", ORIGINS), _known("engine.kind", KINDS), _known("tuned.source", TUNED))
# Keys of the task that cannot change a model's answers.
_GRADED = {"grade", "option_score"}
_MODEL, _EVALUATE, _ENGINE = {"published_parameters"}, {"num_processes", "workers", "metrics"}, set(MACHINE_KEYS)
_ASKED: dict[str, Any] = {"prompt": True, "scoring_method": True, "max_new_tokens": True}
WITHOUT: dict[str, Any] = {
    "prepare": {"task": _GRADED, "also": {"__all__": _ASKED | {"task": _GRADED}}},
    "count_params": {"model": {"head_seed", "head_labels"}, "adapt": {"lora_dropout"}, "tuned": {"head_labels", "url"}},
    "predict_base": {"model": _MODEL, "engine": _ENGINE, "evaluate": _EVALUATE},
    "features": {"head": {"model": _MODEL}},
    "train": {"model": _MODEL, "train": {"logging_steps", "save_total_limit"}},
    "predict_tuned": {
        "model": _MODEL,
        "engine": _ENGINE,
        "evaluate": _EVALUATE | {"few_shot", "noise_batch_tokens", "noise_seed"},
    },
    "report": {"evaluate": {"num_processes", "workers"}},
}
# Stages that grade answers, and so run the user's grading functions.
GRADING = ("eval_base", "eval_tuned", "diff_cases")


class Experiment(NamedTuple):
    """An experiment: its parameters, the task of the main test set, and the tasks of further test sets by name."""

    params: Params
    task: Task
    also: Mapping[str, Task]

    @property
    def case_sets(self) -> dict[str, CaseSet]:
        """Return the test sets with their prompts and questions."""
        sets = {}
        for name, task in {HEADLINE: self.task, **self.also}.items():
            one = self.params.also[name] if name in self.also else None
            evaluate = self.params.evaluate
            if one and one.scoring_method:
                evaluate = evaluate.model_copy(update={"scoring_method": one.scoring_method})
            prompt = (one and one.prompt) or self.params.prompt
            params = self.params.model_copy(update={"prompt": prompt, "evaluate": evaluate})
            sets[name] = CaseSet(
                inputs=list(task.inputs),
                labels=list(task.labels),
                partial_input=task.partial_input,
                prompt=params.prompt,
                ask=task.ask(params),
                max_new_tokens=one.max_new_tokens if one else None,
            )
        return sets


def read_experiment(path: Path) -> Experiment:
    """Load and check params.yaml.

    Raises:
        TunediffError: keys are missing, misspelt, repeated, of the wrong type or contradictory, with one line per key.
    """
    params = read_params(path, _contradictions)
    also = {name: task_of(one.task or params.task) for name, one in params.also.items()}
    return Experiment(params, task_of(params.task), also)


def settings_of(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Return the values that can change the result of each stage, with defaults, and machine settings, which cannot."""
    params, task = experiment.params, experiment.task
    sections = {HEADLINE: params.task, **{name: one.task or params.task for name, one in params.also.items()}}
    predict = PredictSettings.model_construct(
        model=params.model,
        engine=params.engine,
        evaluate=params.evaluate,
        sets=experiment.case_sets,
        validate_too=params.data.validation is not None and task.tunes_threshold(task.ask(params)),
    )
    grade = EvalSettings.model_construct(
        sets={name: GradedSet.model_construct(task=sections[name], ask=one.ask) for name, one in predict.sets.items()},
        metrics=params.evaluate.metrics,
    )
    learn = {name: getattr(params, name) for name in ("model", "adapt")}
    # The stop strings of generation must not occur in training targets.
    learn["prompt"] = params.prompt.model_copy(update={"stop": predict.headline.ask.stop})
    learn |= {"inputs": params.task.inputs, "labels": params.task.labels}
    read_by_head = HeadInputs.model_construct(**learn) if params.adapt and params.adapt.method == "head" else None
    settings = {
        "prepare": PrepareSettings.model_construct(
            task=params.task,
            data=params.data,
            also={name: one.model_copy(update={"task": sections[name]}) for name, one in params.also.items()},
        ),
        "base_model": BaseModelSettings.model_construct(base=params.model, pretrain=params.pretrain),
        "count_params": CountSettings.model_construct(
            labels=params.task.labels, model=params.model, adapt=params.adapt, tuned=params.tuned
        ),
        "predict_base": predict,
        "eval_base": grade,
        "features": FeaturesSettings.model_construct(head=read_by_head),
        "train": TrainSettings.model_construct(**learn, train=params.train, tuned=params.tuned),
        "predict_tuned": predict,
        "eval_tuned": grade,
        "diff_cases": DiffSettings.model_construct(sets=sections, diff=params.diff, checks=params.checks),
        "report": ReportSettings.model_construct(
            sets=sections,
            **{name: getattr(params, name) for name in ReportSettings.model_fields if name != "sets"},
        ),
        "machine": MachineSettings.model_construct(
            logging_steps=params.train.logging_steps if params.train else 1,
            save_total_limit=params.train.save_total_limit if params.train else None,
            num_processes=params.evaluate.num_processes,
            workers=params.evaluate.workers,
            engine={name: getattr(params.engine, name) for name in MACHINE_KEYS},
        ),
    }
    return {name: one.model_dump(mode="json", exclude=WITHOUT.get(name)) for name, one in settings.items()}


def stage_files(experiment: Experiment, scripts: Path) -> dict[str, dict[str, Any]]:
    """Return the result of `settings_of` for each stage, with hashes of the code that it runs, by package.

    Args:
        experiment: the experiment.
        scripts: folder of the stage scripts.

    Raises:
        TunediffError: a file with a grading function of the user is missing.
    """
    settings = settings_of(experiment)
    coded = {name: scripts / f"{name}.py" for name in settings}
    code = {name: code_of(script) for name, script in coded.items() if script.exists()}
    if files := sorted({file for task in (experiment.task, *experiment.also.values()) for file in task.files}):
        for file in files:
            read_text(file)  # raises if the file is missing
        code |= {name: code[name] | {GRADERS: files_hash(files)} for name in GRADING if name in code}
    return {name: values | ({CODE: code[name]} if name in code else {}) for name, values in settings.items()}


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions between sections, checked as far as the keys are valid by themselves."""
    params = valid(values)
    yield from _task_problems(params, settings=True)
    yield from broken([*_NAMED, *RULES], params)
    also = values.get("also")
    for name, one in also.items() if isinstance(also, Mapping) else ():
        if isinstance(one, Mapping):
            # A further test set has its own task, data and prompt.
            sections = {key: one[key] for key in ("task", "data", "prompt") if one.get(key) is not None}
            further = valid({**values, "evaluate": {}, **sections})
            lines = [
                *_task_problems(further, settings=False),
                *broken([*PROMPT_RULES, partial(_same_head, params)], further),
            ]
            yield from (f"also.{name}: {line}" for line in lines)


def _task_problems(params: Params, settings: bool) -> Iterator[str]:
    if lines := list(broken([_known("task.name", TASKS)], params)):
        yield from lines
        return
    try:
        name = params.task.name
    except NotValidError:
        return
    yield from broken([*TASKS[name].rules, *(TASKS[name].settings_rules if settings else ())], params)


def _same_head(params: Params, further: Params) -> str | None:
    """The rule that a further test set has the labels of the classification head."""
    labels, others = params.task.labels, further.task.labels
    if params.model.head != "classification" or labels == others:
        return None
    return f"task.labels: found {others}, expected those of the classification head, {labels}"
