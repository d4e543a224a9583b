import re
import xml.etree.ElementTree as ElementTree

import altair as alt
import numpy as np
import pytest

from tests.report.made import LABELS, LOSSES
from tunediff.report import plots
from tunediff.report.page import TEMPLATES
from tunediff.report.tables import TagAccuracy

DIFF = {"n": 100, "both_right": 39, "repaired": 49, "broken": 2, "both_wrong_same": 10, "both_wrong_changed": 0}
COUNTS = np.array([[30, 3, 0, 1], [4, 20, 9, 0], [0, 0, 33, 0]])
LOG = [{"epoch": n, "train_loss": t, "validation_loss": v} for n, (t, v) in enumerate(LOSSES, start=1)]


def tag(name, n=10):
    return TagAccuracy(name, n, 0.4, 0.9, 0.7, 0.95, 5, 0)


def pictures():
    return {
        "transitions": plots.transitions_picture(DIFF),
        "confusion": plots.confusion_picture(LABELS, COUNTS, "base", with_invalid=True),
        "loss": plots.loss_picture(LOG),
        "tags": plots.tags_picture([tag("negation"), tag("hypernym")]),
    }


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


def test_charts_fit_the_schema_that_rendering_skips(monkeypatch):
    monkeypatch.setattr(alt.LayerChart, "to_dict", lambda chart, validate: checked(chart))
    monkeypatch.setattr(alt.Chart, "to_dict", lambda chart, validate: checked(chart))

    def checked(chart):
        monkeypatch.undo()
        return chart.to_dict(validate=True)

    for draw in (
        lambda: plots.transitions_picture(DIFF),
        lambda: plots.confusion_picture(LABELS, COUNTS, "base", with_invalid=True),
        lambda: plots.loss_picture(LOG),
        lambda: plots.tags_picture([tag("negation")]),
    ):
        draw()


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
    for name, colour in plots.COLOURS.items():
        assert f"--{name.replace('_', '-')}: {colour};" in style


def test_transitions_show_every_count_also_zero():
    read = texts(plots.transitions_picture(DIFF))
    for text in ("39 (39.0 %)", "49 (49.0 %)", "2 (2.0 %)", "10 (10.0 %)", "0 (0.0 %)"):
        assert text.replace(" %", "\N{NO-BREAK SPACE}%") in read


def test_confusion_has_an_invalid_column_only_where_asked():
    assert "(invalid)" in texts(plots.confusion_picture(LABELS, COUNTS, "base", with_invalid=True))
    assert "(invalid)" not in texts(plots.confusion_picture(LABELS, COUNTS, "base", with_invalid=False))


def test_confusion_keeps_the_order_of_the_labels():
    read = texts(plots.confusion_picture(LABELS, COUNTS, "base", with_invalid=False))
    assert [text for text in read if text in LABELS] == LABELS * 2


def test_confusion_of_a_label_without_cases_is_drawn():
    counts = np.array([[5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert "nan" not in plots.confusion_picture(LABELS, counts, "tuned", with_invalid=False).lower()


@pytest.mark.parametrize("size", [2, 8, 30])
def test_confusion_of_many_labels_stays_on_the_page(size):
    labels = [f"label {number}" for number in range(size)]
    svg = plots.confusion_picture(labels, np.ones((size, size + 1), dtype=int), "base", with_invalid=False)
    assert float(ElementTree.fromstring(svg).get("width")) < 750


def test_loss_of_a_single_epoch_and_without_validation_is_drawn():
    for log in (LOG[:1], [{**row, "validation_loss": None} for row in LOG]):
        ElementTree.fromstring(plots.loss_picture(log))


def test_of_many_tags_those_with_the_most_cases_are_drawn():
    tags = [tag(f"tag {number:03d}", n=1000 - number) for number in range(100)]
    read = " ".join(texts(plots.tags_picture(tags[::-1])))
    assert "tag 039 (961)" in read
    assert "tag 040" not in read


def test_hostile_text_in_a_picture_stays_text():
    name = "</text></svg><script>alert(1)</script>\"' & \u202ex"
    svg = plots.tags_picture([tag(name)])
    root = ElementTree.fromstring(svg)
    assert not list(root.iter("script"))
    assert any(name[:20] in text for text in texts(svg))


def test_the_same_data_give_the_same_picture():
    assert pictures() == pictures()
