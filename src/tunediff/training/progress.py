"""The progress bar of a training run, in place of the dictionaries that transformers prints.

trainer = Trainer(..., callbacks=[]); show_progress(trainer, "train")
"""

from typing import Any

from tqdm import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback


def show_progress(trainer: Trainer, title: str) -> None:
    """Give a trainer one bar over its steps; where the output is no terminal, nothing is drawn."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Bar(title))


class _Bar(TrainerCallback):
    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        silent = None if state.is_world_process_zero else True  # None: where the output is no terminal
        steps = state.max_steps
        self.bar = tqdm(total=steps, initial=state.global_step, desc=self.title, unit="step", disable=silent)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        if logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.bar.close()
