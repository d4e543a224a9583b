"""A new statistic is a function in `EFFECTS` and a sentence in `SENTENCES`: it reaches metrics and report."""

from tests.made_pairs import made_up_pair
from tunediff.compare import evidence
from tunediff.compare.comparison import compare_tables
from tunediff.compare.evidence import Effect, gather
from tunediff.report import findings
from tunediff.report.diff_page import diff_pages


def agreement(comparison):
    """The share of cases that both models answered alike."""
    alike = comparison.aligned["prediction_base"] == comparison.aligned["prediction_tuned"]
    return Effect({"agreement": float(alike.mean())})


def agreement_sentence(results):
    return f"Both models gave the same answer to {100 * results.diff_cases['agreement']:.0f} % of the cases."


def test_a_statistic_from_outside_stands_in_the_metrics_and_on_the_page(monkeypatch):
    monkeypatch.setitem(evidence.EFFECTS, "agreement", agreement)
    monkeypatch.setitem(findings.SENTENCES, "How much they agree", (agreement_sentence,))
    found = gather(compare_tables(*made_up_pair()))
    assert found.metrics["agreement"] == 0.49
    for page in diff_pages(found, ("before.csv", "after.csv")):
        assert "How much they agree" in page
        assert "Both models gave the same answer to 49 % of the cases." in page
