"""Remove a model's label bias from its scores: its preference among the labels whatever the case.

    log_probs = np.log([[0.7, 0.3], [0.9, 0.1]])       # two cases, labels yes and no: both answers are yes
    likeliest(calibrated(log_probs), ["yes", "no"])    # ["no", "yes"]: the second is more of a yes than the first

The bias is one number per label. Subtracted from the scores, it makes all labels equally likely on average over the
cases: "prior matching" of Liusie, Manakul and Gales 2023, "Mitigating Word Bias in Zero-shot Prompt-based Classifiers"
(arXiv:2309.04992). Like contextual calibration (Zhao et al. 2021) it shifts log-probabilities, but it needs no
content-free input, and the result does not depend on any constant added per label. Gold labels are not used.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

from tunediff.stats.bootstrap import Floats


def label_preference(log_probs: Floats) -> Floats:
    """Return the label bias of a model over the cases, in nats, of shape (n_labels,), with mean 0.

    Args:
        log_probs: finite log-probabilities or logits of shape (n_cases, n_labels).
    """
    # Centring both ways makes the optimization independent of constants added per label or per case.
    rows = log_probs - log_probs.mean(axis=1, keepdims=True)
    start = rows.mean(axis=0)
    scores = rows - start
    n_labels = scores.shape[1]
    target = np.full(n_labels, 1 / n_labels)

    # Convex, and its gradient is the mean probability of each label minus the target.
    def loss(shift: Floats) -> float:
        return float(logsumexp(scores + np.append(shift, 0), axis=1).mean() - shift @ target[:-1])

    def gradient(shift: Floats) -> Floats:
        mean: Floats = softmax(scores + np.append(shift, 0), axis=1).mean(axis=0)
        return (mean - target)[:-1]

    def curvature(shift: Floats) -> Floats:
        shares = softmax(scores + np.append(shift, 0), axis=1)[:, :-1]
        square: Floats = np.diag(shares.mean(axis=0)) - shares.T @ shares / len(shares)
        return square

    found = minimize(
        loss, np.zeros(n_labels - 1), jac=gradient, hess=curvature, method="trust-exact", options={"gtol": 1e-9}
    )
    preference = start - np.append(found.x, 0)
    return np.asarray(preference - preference.mean(), dtype=np.float64)


def calibrated(log_probs: Floats) -> Floats:
    """Return the log-probabilities without the label bias, normalised, of the same shape.

    Args:
        log_probs: finite log-probabilities or logits of shape (n_cases, n_labels).
    """
    return np.asarray(log_softmax(log_probs - label_preference(log_probs), axis=1), dtype=np.float64)


def likeliest(scores: Floats, labels: Sequence[str]) -> npt.NDArray[np.object_]:
    """Return the most likely label of each case, of shape (n_cases,).

    Ties, as for a model with equal scores in every case, are resolved in favour of the first label of the list.

    Args:
        scores: the result of `calibrated`, of shape (n_cases, n_labels).
        labels: the label list of the task, of length n_labels.
    """
    level = scores >= scores.max(axis=1, keepdims=True) - 1e-9
    return np.asarray(np.array(labels, dtype=object)[level.argmax(axis=1)])
