"""The metrics of a prediction file, whatever its task.

metrics = score(params.task, frame)        # metrics/eval_base.json, but for what evaluate.metrics adds
"""

from typing import TYPE_CHECKING

from tunediff.config.model import Model
from tunediff.config.task import UNANSWERABLE, Task
from tunediff.metrics import accuracy
from tunediff.metrics.answer_scores import Answered, score_answers

if TYPE_CHECKING:
    import pandas as pd


def score(task: Task, frame: "pd.DataFrame", validation: "pd.DataFrame | None" = None) -> dict[str, float]:
    """Return the metrics of a prediction file's rows, flat.

    Args:
        task: its name says which metrics, its labels are those of the log-probabilities.
        frame: a row a case, with `tunediff.data.cases.PREDICTION_COLUMNS`, and ANSWER_COLUMNS for question_answering.
        validation: question_answering: rows of other cases, on which to find the threshold of validated_*.

    Returns:
        What `tunediff.metrics.answer_scores.score_answers` or `tunediff.metrics.accuracy.score` gives.

    Raises:
        TunediffError: see there.
    """
    if task.name == "question_answering":
        answered = answers_of(frame)
        return score_answers(*answered, validation=None if validation is None else answers_of(validation))
    return accuracy.score(task.labels, frame["label"], frame["prediction"], frame["log_probs"])


def has_threshold(task: Task, model: Model) -> bool:
    """Whether the model says how probable it is that a question has no answer, so that a threshold can be tuned."""
    return model.head == "span" and UNANSWERABLE in task.labels


def answers_of(frame: "pd.DataFrame") -> Answered:
    """The questions of a prediction file, ready to be scored; log_probs only where every case has two of them."""
    given = frame["log_probs"].notna().all() and (frame["log_probs"].map(len) == 2).all()
    return Answered(
        answers=[list(texts) for texts in frame["answers"]],
        predictions=frame["prediction"].astype(object).where(frame["prediction"].notna(), None).tolist(),
        log_probs=frame["log_probs"].tolist() if given else None,
    )
