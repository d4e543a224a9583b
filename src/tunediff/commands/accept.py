"""What `tunediff verify --accept` does: take today's code for results that other code made.

An upgrade of tunediff changes files that every stage depends on, so DVC would make all results again. Here the cheap
stages run as DVC runs them; the others, which need a model, are taken over with `dvc commit`, where both models, asked
a sample again, answer as before.
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
TAKEN_OVER = ("base_model", "predict_base", "features", "train", "predict_tuned")
ASKED_AGAIN = ("predict_base", "predict_tuned")
LAST = ("count_params", "eval_base", "eval_tuned", "diff_cases", "report")
CODE = ("src", "stages", GRADERS, str(REQUIREMENTS))


def ready_to_accept() -> None:
    """Run the stages before the first model, and see that nothing but code has changed for the others.

    Raises:
        TunediffError: something else has changed, or DVC fails.
    """
    _refuse(_changed_by_hand(dvc_status()))
    refresh()
    _dvc("repro", "--single-item", *FIRST)
    _refuse(_changed(dvc_status(), TAKEN_OVER))


def take_over() -> None:
    """Take over the results of expensive stages, and run the cheap ones after them.

    Raises:
        TunediffError: DVC fails.
    """
    _dvc("commit", "--force", *TAKEN_OVER)
    _dvc("repro", "--single-item", *LAST)
    not_repeated = [name for name in TAKEN_OVER if name not in ASKED_AGAIN]
    print(f"Taken over: {', '.join(ASKED_AGAIN)}, whose models reproduce the answers in the sample.")
    print(f"Taken over without a check: {', '.join(not_repeated)}; repeating them takes as long as computing them.")


def _changed_by_hand(status: Mapping[str, Any]) -> list[str]:
    """What has changed that neither is code nor comes out of a stage, such as params.yaml or a file of data."""
    made = {path for stage in pipeline_stages().values() for path in written(stage)}
    return [
        path
        for path in _changed(status, status)
        if not any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in made)
    ]


def _changed(status: Mapping[str, Any], stages: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """What these stages read that has changed since, and is neither code nor their settings; and what they wrote."""
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
