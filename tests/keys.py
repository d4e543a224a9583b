"""Which stages another value of a key of params.yaml runs again: what is expected, and what the settings say."""

import yaml

from tests.imports import ROOT
from tunediff.config.model import Base
from tunediff.config.params import Params
from tunediff.config.prompt import Message
from tunediff.tasks import task_of
from tunediff.tasks.experiment import Experiment, settings_of

ASKED = ("predict_base", "predict_tuned")
GRADED = ("eval_base", "eval_tuned")
LEARNED = ("features", "train")
# The stages whose settings another value of a key changes: those of its section, where the key has no line of its own.
SECTIONS = {
    "task": ("prepare", *GRADED, "diff_cases", "report"),
    "data": ("prepare", "report"),
    "also": ("prepare",),
    "model": ("count_params", *ASKED, *LEARNED, "report"),
    "pretrain": ("base_model",),
    "prompt": (*ASKED, *LEARNED, "report"),
    "engine": ASKED,
    "evaluate": (*ASKED, "report"),
    "adapt": ("count_params", *LEARNED, "report"),
    "tuned": ("count_params", "train", "report"),
    "train": ("train",),
    "diff": ("diff_cases", "report"),
    "checks": ("diff_cases",),
    "report": ("report",),
    "cost": ("report",),
}
KEYS = {
    "task.inputs": ("prepare", *ASKED, *GRADED, *LEARNED, "diff_cases", "report"),
    "task.labels": ("prepare", "count_params", *ASKED, *GRADED, *LEARNED, "diff_cases", "report"),
    "task.partial_input": ("prepare", *ASKED, *GRADED, "diff_cases", "report"),
    **{f"model.{key}": ("base_model", *SECTIONS["model"]) for key in Base.model_fields},
    "model.published_parameters": ("count_params", "report"),
    "model.head": (*SECTIONS["model"], *GRADED),
    "model.head_seed": (*ASKED, *LEARNED, "report"),
    "model.head_labels": (*ASKED, *LEARNED, "report"),
    # Free text is parsed by the texts of the choices.
    "prompt.choices": (*ASKED, *GRADED, *LEARNED, "report"),
    "prompt.stop": (*ASKED, *GRADED, *LEARNED, "report"),
    "task.grade": (*GRADED, "diff_cases", "report"),
    "task.option_score": (*GRADED, "diff_cases", "report"),
    "evaluate.scoring_method": (*ASKED, *GRADED, "report"),
    **{f"evaluate.{key}": ("machine",) for key in ("num_processes", "workers")},
    "evaluate.metrics": (*GRADED, "report"),
    **{f"evaluate.{key}": ("predict_base", "report") for key in ("few_shot", "noise_batch_tokens", "noise_seed")},
    **{
        f"engine.{key}": ("machine",)
        for key in ("device_map", "keep_dequantized", "api_key_env", "num_concurrent", "timeout")
    },
    **{f"tuned.{key}": ("train", "report") for key in ("head_labels", "url")},
    "adapt.lora_dropout": (*LEARNED, "report"),
    "train.logging_steps": ("machine",),
    "train.save_total_limit": ("machine",),
}
# Values that `another` cannot make.
OTHERS = {
    "task.name": "classification",
    "task.labels": ["contradiction", "neutral", "entailment"],
    "evaluate.scoring_method": "generation",
    "prompt.messages": [Message(role="user", content="{premise} {hypothesis}")],
    "prompt.stop": ["END"],
    "prompt.choices": {"entailment": " oui", "neutral": " maybe", "contradiction": " no"},
}
FURTHER = {
    "data": {
        "source": "files",
        "files": {"dev": "dev.jsonl"},
        "columns": {"premise": "a", "hypothesis": "b", "label": "c"},
        "test": {"source": "dev"},
    }
}


def default_experiment():
    """The default parameters with all that has settings: a further test set, and a head to compute features for."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params = Params.model_validate(values | {"also": {"further": FURTHER}})
    return params.model_copy(update={"adapt": params.adapt.model_copy(update={"method": "head"})})


DEFAULT = default_experiment()
ALL_KEYS = [f"{name}.{key}" for name in SECTIONS if name != "also" for key in type(getattr(DEFAULT, name)).model_fields]


def another(value):
    """Another value for a key; settings do not judge it."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case list():
            return [*value, "x"]
        case dict():
            return {**value, "x": "y"}
        case None:
            return "x"
        case _:  # a section in a section
            key = next(iter(type(value).model_fields))
            return value.model_copy(update={key: another(getattr(value, key))})


def changed(params):
    """The stages whose settings are others than those of the default experiment."""

    def settings(one):
        also = {name: task_of(further.task or one.task) for name, further in one.also.items()}
        return settings_of(Experiment(one, task_of(one.task), also))

    before, after = settings(DEFAULT), settings(params)
    return {name for name in before if before[name] != after[name]}


def changed_by(name):
    """The stages whose settings another value of a key changes."""
    section, key = name.split(".")
    values = getattr(DEFAULT, section)
    value = OTHERS.get(name, another(getattr(values, key)))
    return changed(DEFAULT.model_copy(update={section: values.model_copy(update={key: value})}))
