"""Perplexity of a text before and after: two models' costs of the same tokens, compared passage by passage.

    found = perplexities(before, after, tokens, articles, 0.95)
    found["perplexity_base"], found["perplexity_tuned"], found["nll_delta"]

Perplexities are of one tokenizer: base and tuned model share it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tunediff.stats.bootstrap import Clusters, Floats, bootstrap_interval, cluster_codes, units


def perplexities(
    base: Sequence[float], tuned: Sequence[float], tokens: Sequence[int], clusters: Clusters, confidence: float
) -> dict[str, float]:
    """Return the perplexity of both models, and the paired difference of what a token costs.

    Args:
        base: what each passage costs the base, in nats, at least 0.
        tuned: the same of the tuned model.
        tokens: how many of each passage that is, at least 1.
        clusters: what passages share, such as their article; drawn whole.
        confidence: of the interval.

    Returns:
        passages, tokens. nll_base, nll_tuned: nats per token; nll_delta, tuned minus base, with its paired bootstrap
        interval nll_delta_low and nll_delta_high, left out for a single cluster. perplexity_base, perplexity_tuned: exp
        of these.
    """
    table: npt.NDArray[np.float64] = np.stack([base, tuned, tokens], axis=1).astype(np.float64)
    before, after, n = table.sum(axis=0)
    found = {"passages": len(table), "tokens": int(n), "nll_base": before / n, "nll_tuned": after / n}
    found |= {"nll_delta": (after - before) / n}
    if cluster_codes(clusters).max() > 0:

        def delta(sums: Floats) -> Floats:
            return np.asarray((sums[:, 1] - sums[:, 0]) / sums[:, 2])

        low, high = bootstrap_interval(units(table, clusters), delta, confidence)
        found |= {"nll_delta_low": low, "nll_delta_high": high}
    found |= {f"perplexity_{who}": float(np.exp(found[f"nll_{who}"])) for who in ("base", "tuned")}
    return {name: float(value) if isinstance(value, float) else value for name, value in found.items()}
