"""A training that is stopped at a save, as Ctrl-C or the machine going away would stop it."""

from tunediff.training import checkpoints


class Stop(BaseException):
    """Stands in for Ctrl-C or the machine going away."""


def stop_after_save(monkeypatch, step, marked=True):
    """Stop the run at the save of a step, before or after it has been marked whole."""
    real = checkpoints.mark_whole

    def mark(checkpoint):
        last = checkpoint.name == f"checkpoint-{step}"
        if marked or not last:
            real(checkpoint)
        if last:
            raise Stop

    monkeypatch.setattr(checkpoints, "mark_whole", mark)
