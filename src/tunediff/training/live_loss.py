"""The loss of a training run as a metric of DVC, rewritten while the run goes on.

finetune(..., log=live_loss(Path("metrics/loss.json")))
# metrics/loss.json: {"epoch": 1, "step": 430, "train_loss": 0.41, "validation_loss": 0.46}

`dvc exp show` and the VS Code extension read the file of the workspace, so both show it during training.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tunediff.data.schemas import METRICS, names
from tunediff.runtime.files import write_json
from tunediff.runtime.processes import is_main_process

LOSS = names(METRICS["loss"])


def live_loss(path: Path) -> Callable[[Mapping[str, float]], None]:
    """Return a function that `finetune` calls with each entry of its log, and that writes the newest of each value.

    `epoch` and `validation_loss` are those of the last complete epoch; `train_loss` is the mean since the last entry,
    and at the end of an epoch its mean, both in nats per target.
    """
    newest: dict[str, float] = {}

    def write(entry: Mapping[str, float]) -> None:
        if not is_main_process():
            return
        named = {"train_loss" if key == "loss" else key: value for key, value in entry.items()}
        newest.update({key: round(named[key]) if key == "epoch" else named[key] for key in LOSS if key in named})
        write_json(path, {key: newest[key] for key in LOSS if key in newest})

    return write
