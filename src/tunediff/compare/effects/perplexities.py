"""Perplexity of a text before and after, compared passage by passage.

    found = perplexities(before, after, tokens, articles, 0.95)
    found["perplexity_base"], found["perplexity_tuned"], found["nll_delta"]

Base and tuned model must share a tokenizer, because perplexities of different tokenizers cannot be compared.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tunediff.stats.bootstrap import Clusters, Floats, bootstrap_interval, n_clusters, units


def perplexities(
    base: Sequence[float], tuned: Sequence[float], tokens: Sequence[int], clusters: Clusters, confidence: float
) -> dict[str, float]:
    """Return the perplexity of both models, and the paired difference of their NLL per token.

    Args:
        base: negative log-likelihood of each passage under the base model, in nats, at least 0.
        tuned: negative log-likelihood of each passage under the tuned model.
        tokens: number of tokens of each passage, at least 1.
        clusters: cluster of each passage, such as its article, resampled as a whole.
        confidence: level of the interval.

    Returns:
        passages, tokens. nll_base, nll_tuned: nats per token; nll_delta, tuned minus base, with its paired bootstrap
        interval nll_delta_low and nll_delta_high, omitted for a single cluster. perplexity_base, perplexity_tuned: exp
        of nll_base and nll_tuned.
    """
    table: npt.NDArray[np.float64] = np.stack([base, tuned, tokens], axis=1).astype(np.float64)
    before, after, n = table.sum(axis=0)
    found = {"passages": len(table), "tokens": int(n), "nll_base": before / n, "nll_tuned": after / n}
    found |= {"nll_delta": (after - before) / n}
    if n_clusters(clusters, len(table)) > 1:

        def delta(sums: Floats) -> Floats:
            return np.asarray((sums[:, 1] - sums[:, 0]) / sums[:, 2])

        low, high = bootstrap_interval(units(table, clusters), delta, confidence)
        found |= {"nll_delta_low": low, "nll_delta_high": high}
    found |= {f"perplexity_{who}": float(np.exp(found[f"nll_{who}"])) for who in ("base", "tuned")}
    return {name: float(value) if isinstance(value, float) else value for name, value in found.items()}
