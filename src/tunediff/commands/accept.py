"""Accept results of an earlier version of the code as current (`tunediff verify --accept`).

An upgrade of tunediff changes files that every stage depends on, so DVC would compute all results again. Here the cheap
stages run as usual. The results of the others, which need a model, are accepted with `dvc commit`, provided that both
models give the same answers to a sample of cases.
"""

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from tunediff.commands.runs import SETTINGS, dvc, dvc_status, pipeline_stages, written
from tunediff.commands.scaffold import refresh
from tunediff.config.grade import GRADERS
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.release import REQUIREMENTS

FIRST = ("settings", "prepare")
ACCEPTED = ("base_model", "predict_base", "features", "train", "predict_tuned")
EVALUATED_AGAIN = ("predict_base", "predict_tuned")
LAST = ("count_params", "eval_base", "eval_tuned", "diff_cases", "report")
CODE = ("src", "stages", GRADERS, str(REQUIREMENTS))


def ready_to_accept() -> None:
    """Run the stages before the first model, and check that only code has changed for the others.

    Raises:
        TunediffError: something else has changed, or DVC fails.
    """
    _refuse(_changed_by_user(dvc_status()))
    refresh()
    _dvc("repro", "--single-item", *FIRST)
    _refuse(_changed(dvc_status(), ACCEPTED))


def accept_results() -> None:
    """Accept the results of expensive stages, and run the cheap stages after them.

    Raises:
        TunediffError: DVC fails.
    """
    _dvc("commit", "--force", *ACCEPTED)
    _dvc("repro", "--single-item", *LAST)
    not_repeated = [name for name in ACCEPTED if name not in EVALUATED_AGAIN]
    print(f"Accepted: {', '.join(EVALUATED_AGAIN)}, whose models reproduce the answers in the sample.")
    print(f"Accepted without a check: {', '.join(not_repeated)}; repeating them takes as long as computing them.")


def _changed_by_user(status: Mapping[str, Any]) -> list[str]:
    """The changed files that are neither code nor written by a stage, such as params.yaml or a data file."""
    made = {path for stage in pipeline_stages().values() for path in written(stage)}
    return [
        path
        for path in _changed(status, status)
        if not any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in made)
    ]


def _changed(status: Mapping[str, Any], stages: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """The changed inputs of these stages, except for code and settings, and their changed outputs."""
    found = {
        path: None
        for name in stages
        for reason in status.get(name, [])
        if isinstance(reason, dict)
        for paths in reason.values()
        for path in paths
        if path.split("/")[0] not in CODE and not path.startswith(str(SETTINGS))
    }
    return list(found)


def _refuse(changed: Sequence[str]) -> None:
    if changed:
        raise TunediffError(
            f"--accept: {', '.join(changed)}: changed since the last run, expected only the code to have changed; "
            "run dvc repro"
        )


def _dvc(*arguments: str) -> None:
    if subprocess.run(dvc(*arguments), check=False).returncode:  # noqa: S603
        raise TunediffError(f"--accept: dvc {arguments[0]} failed; expected it to run {', '.join(arguments[1:])}")
