import re
import xml.etree.ElementTree as ElementTree

import altair as alt
import numpy as np
import pytest

from tests.report.made import LABELS, LOSSES, TASK
from tunediff.report import confusion, drawing, flow, plots
from tunediff.report.page import TEMPLATES
from tunediff.report.results import Cell, Flow

FLOWS = [Flow("right", "right", "both_right", 39), Flow("wrong", "right", "repaired", 49),
         Flow("right", "invalid", "broken", 2), Flow("wrong", "wrong", "both_wrong_same", 10)]  # fmt: skip
COUNTS = np.array([[30, 3, 0, 1], [4, 20, 9, 0], [0, 0, 33, 0]])
LOG = [{"epoch": n, "train_loss": t, "validation_loss": v} for n, (t, v) in enumerate(LOSSES, start=1)]
GAIN = [
    {"part": "answer_format", "points": 12.0, "low": 10.0, "high": 14.5},
    {"part": "label_bias", "points": -3.0, "low": -5.0, "high": -1.0},
    {"part": "residual", "points": 0.0, "low": -1.0, "high": 1.0},
]
BINS = [
    {"model": model, "bin": at + 1, "cases": 60, "confidence": 0.5 + 0.2 * at, "accuracy": 0.4 + 0.25 * at,
     "low": 0.3 + 0.25 * at, "high": 0.5 + 0.25 * at}
    for model in ("base", "tuned") for at in (0, 1)
]  # fmt: skip
CURVE = [{"model": model, "coverage": at / 4, "cases": at, "threshold": 0.5, "accuracy": 1 - at / 10}
         for model in ("base", "tuned") for at in (1, 2, 3, 4)]  # fmt: skip
EPOCHS = [
    {"set": name, "epoch": epoch, "delta": 0.1 * epoch, "low": 0.1 * epoch - 0.05, "high": 0.1 * epoch + 0.05}
    for name in ("test", "copying") for epoch in (1, 2, 3)
]  # fmt: skip
COSTS = {"prepare": {"seconds": 3.2}, "train": {"seconds": 3671}}


def row(name, n=10):
    return {"family": "tag", "value": name, "n": n, "accuracy_base": 0.4, "accuracy_tuned": 0.9}


DRAWN = {
    "flow": lambda: flow.flow_picture(FLOWS),
    "confusion": lambda: confusion.confusion_picture(LABELS, COUNTS, "base model", with_unlabelled=True),
    "difference": lambda: confusion.difference_picture(LABELS, COUNTS, COUNTS[:, ::-1], with_unlabelled=True),
    "gain": lambda: plots.gain_picture(GAIN, TASK.parts, "accuracy"),
    "loss": lambda: plots.loss_picture(LOG),
    "slices": lambda: plots.slices_picture([row("negation"), row("hypernym")], "accuracy"),
    "reliability": lambda: plots.reliability_picture(BINS),
    "coverage": lambda: plots.coverage_picture(CURVE),
    "cost": lambda: plots.cost_picture(COSTS),
    "epochs": lambda: plots.change_picture(EPOCHS, "epoch", "Change by epoch"),
}


def pictures():
    return {name: draw() for name, draw in DRAWN.items()}


def texts(svg):
    """What can be read in the picture; the title that only names it is left out."""
    return [element.text for element in ElementTree.fromstring(svg).iter("text") if element.text]


def test_each_picture_is_one_well_formed_svg_that_names_itself():
    for svg in pictures().values():
        root = ElementTree.fromstring(svg)
        assert root.tag == "svg"
        assert root.get("role") == "img"
        assert root.get("aria-label").startswith(root.find("title").text)
        assert re.search(r"\d", root.get("aria-label"))


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "flow"])
def test_a_chart_fits_the_schema_that_rendering_skips(monkeypatch, name):
    def checked(chart, validate):
        monkeypatch.undo()
        return chart.to_dict(validate=True)

    for kind in (alt.LayerChart, alt.FacetChart):
        monkeypatch.setattr(kind, "to_dict", checked)
    assert "<svg" in DRAWN[name]()


def test_pictures_load_nothing_and_run_nothing():
    for svg in pictures().values():
        assert "http" not in svg
        assert not re.search(r"<(script|style|image|a|foreignObject|use)\b|\bon\w+=|href", svg)


def test_every_colour_follows_the_page():
    style = (TEMPLATES / "style.css").read_text()
    for svg in pictures().values():
        assert not re.search(r'="#|="rgb|="(white|black)"', svg)
        for variable in re.findall(r"var\((--[\w-]+)\)", svg):
            assert f"{variable}:" in style


def test_the_style_defines_the_colours_that_the_pictures_are_drawn_in():
    style = (TEMPLATES / "style.css").read_text()
    for name, colour in drawing.COLOURS.items():
        assert f"--{name.replace('_', '-')}: {colour};" in style


def test_the_flow_shows_outcomes_with_their_counts_and_shares():
    read = " ".join(texts(flow.flow_picture(FLOWS))).replace("\N{NO-BREAK SPACE}", " ")
    for text in ("right before 41 (41.0 %)", "wrong before 59 (59.0 %)", "right after 88 (88.0 %)", "49 repaired",
                 "invalid after 2 (2.0 %)"):  # fmt: skip
        assert text in read
    assert "invalid before" not in read


def test_the_bands_of_the_flow_are_as_thick_as_their_cases_are_many():
    svg = ElementTree.fromstring(flow.flow_picture(FLOWS))
    numbers = [[float(number) for number in re.findall(r"[\d.]+", path.get("d"))] for path in svg.iter("path")]
    # M left top C ... right top V bottom: the height is that from the top at the end to the V.
    heights = {path.get("fill"): at[8] - at[7] for path, at in zip(svg.iter("path"), numbers, strict=True)}
    assert heights["var(--repaired)"] / heights["var(--both-right)"] == pytest.approx(49 / 39, rel=0.01)
    assert heights["var(--broken)"] >= flow.THINNEST


def test_the_flow_of_a_single_case_and_of_one_in_a_million_is_drawn():
    for flows in ([Flow("wrong", "right", "repaired", 1)],
                  [Flow("right", "right", "both_right", 999_999), Flow("right", "wrong", "broken", 1)]):  # fmt: skip
        svg = flow.flow_picture(flows)
        assert len(list(ElementTree.fromstring(svg).iter("path"))) == len(flows)
        assert "nan" not in svg


def test_the_parts_of_a_gain_add_up_in_the_picture():
    read = " ".join(texts(plots.gain_picture(GAIN, TASK.parts, "accuracy"))).replace("\N{NO-BREAK SPACE}", " ")
    for text in ("the answer format", "+12.0 points (+10.0 to +14.5 points)", "−3.0 points", "together",
                 "+9.0 points"):  # fmt: skip
        assert text in read


def test_confusion_counts_cases_and_puts_answers_without_a_label_last():
    cells = [Cell("neutral", "neutral", None, 3), Cell("entailment", "neutral", "entailment", 4)]
    base, tuned = confusion.confusion_tables(cells, LABELS)
    assert base.tolist() == [[0, 4, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]]
    assert tuned.tolist() == [[4, 0, 0, 0], [0, 0, 0, 3], [0, 0, 0, 0]]


def test_the_difference_of_two_confusions_shows_its_signs():
    other = COUNTS + np.array([[-5, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    read = texts(confusion.difference_picture(LABELS, COUNTS, other, with_unlabelled=False))
    assert {"−5", "+5", "0"} <= set(read)


def test_confusion_has_a_column_for_answers_without_a_label_only_where_asked():
    assert "(no label)" in texts(confusion.confusion_picture(LABELS, COUNTS, "base", with_unlabelled=True))
    assert "(no label)" not in texts(confusion.confusion_picture(LABELS, COUNTS, "base", with_unlabelled=False))


def test_confusion_keeps_the_order_of_the_labels():
    read = texts(confusion.confusion_picture(LABELS, COUNTS, "base", with_unlabelled=False))
    assert [text for text in read if text in LABELS] == LABELS * 2


def test_confusion_of_a_label_without_cases_is_drawn():
    counts = np.array([[5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert "nan" not in confusion.confusion_picture(LABELS, counts, "tuned", with_unlabelled=False).lower()


@pytest.mark.parametrize("size", [2, 8, 30])
def test_confusion_of_many_labels_stays_on_the_page(size):
    labels = [f"label {number}" for number in range(size)]
    svg = confusion.confusion_picture(labels, np.ones((size, size + 1), dtype=int), "base", with_unlabelled=False)
    assert float(ElementTree.fromstring(svg).get("width")) < 750


def test_loss_of_a_single_epoch_and_without_validation_is_drawn():
    for log in (LOG[:1], [{**row, "validation_loss": None} for row in LOG]):
        ElementTree.fromstring(plots.loss_picture(log))


def test_of_many_slices_the_first_are_drawn():
    read = " ".join(texts(plots.slices_picture([row(f"tag {number:03d}", n=961) for number in range(100)], "accuracy")))
    assert "tag: tag 024 (961)" in read
    assert "tag 025" not in read


def test_hostile_text_in_a_picture_stays_text():
    name = "</text></svg><script>alert(1)</script>\"' & \u202ex"
    root = ElementTree.fromstring(plots.slices_picture([row(name)], "accuracy"))
    assert not list(root.iter("script"))
    assert any(name[:20] in text for text in texts(ElementTree.tostring(root, encoding="unicode")))


def test_the_same_data_give_the_same_picture():
    assert pictures() == pictures()
