import numpy as np
import pytest

from tunediff.compare.effects.perplexities import perplexities


def test_perplexity_is_that_of_all_tokens_and_the_difference_is_paired_by_article():
    generator = np.random.default_rng(1)
    tokens = generator.integers(40, 80, size=60)
    base = tokens * (3 + generator.normal(size=60))
    tuned = base + 0.1 * tokens
    articles = np.repeat(np.arange(20), 3)
    found = perplexities(base.tolist(), tuned.tolist(), tokens.tolist(), articles, 0.95)
    assert found["perplexity_base"] == pytest.approx(np.exp(base.sum() / tokens.sum()))
    assert (found["passages"], found["tokens"]) == (60, tokens.sum())
    # Every token costs 0.1 more, whatever the passages cost.
    assert [found[f"nll_delta{end}"] for end in ("", "_low", "_high")] == pytest.approx([0.1, 0.1, 0.1])


def test_two_equal_models_have_no_difference_and_one_article_has_no_interval():
    found = perplexities([50.0, 60.0], [50.0, 60.0], [20, 20], [0, 1], 0.95)
    assert (found["nll_delta"], found["nll_delta_low"], found["nll_delta_high"]) == (0, 0, 0)
    assert "nll_delta_low" not in perplexities([50.0, 60.0], [50.0, 60.0], [20, 20], [0, 0], 0.95)
