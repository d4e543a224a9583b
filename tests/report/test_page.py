import base64
import hashlib
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.made import HOSTILE, TASK, made_cases, made_results, usual_cases
from tunediff.config.report import Report
from tunediff.report.confusion import DARKEST
from tunediff.report.page import TEMPLATES, html_page, markdown_page, markdown_text, page_contents, plain_verdict
from tunediff.tasks.classification import Classification


def contents(folder, cases, task=TASK, each=5, title="Captions: base against QLoRA", **changes):
    results = made_results(folder, cases, task.labels, task.inputs, task.source_input, **changes)
    return page_contents(results, Report(title=title, cases_per_transition=each))


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """Contents of the report of an experiment that went well."""
    return contents(tmp_path_factory.mktemp("usual"), usual_cases())


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The same with all the evidence that can be asked for."""
    return contents(tmp_path_factory.mktemp("complete"), usual_cases(), evidence=True)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Contents of a report whose data set means harm."""
    cases = made_cases(both_right=20, repaired=20, broken=20, both_wrong_same=20, both_wrong_changed=20)
    for number, case in enumerate(cases):
        text = HOSTILE[number % len(HOSTILE)]
        case.update(premise=text, hypothesis=text[::-1] + str(number), tags=[text[:60]])
        case.update(explanation=text, evidence={"nearest": [{"case_id": text, "label": text, "distance": 0.5}]})
    folder = tmp_path_factory.mktemp("hostile")
    return contents(folder, cases, each=20, title="<i>Title</i> | {{ 1 }}")


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of the style."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self.open, self.scripts = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)

    @property
    def data(self):
        """What the case explorer works on."""
        return json.loads(self.scripts[0])


ALWAYS = (
    *(
        "Key numbers",
        "Outcome of each case",
        "Confusion before and after, with the difference",
        "Slices of the test set",
    ),
    *("Loss by epoch", "Cases", "Parameters", "Splits and leaks", "Cost", "How this was made"),
)
ASKED = (
    *("Parts of the change", "Calibration", "Trivial baselines on the same cases"),
    *("Contamination of the cases of each transition", "GPU seconds", "Departure"),
)


@pytest.mark.slow
def test_the_page_holds_every_part_and_every_source(usual, complete):
    page, full = Page(html_page(usual)), Page(html_page(complete))
    for heading in ALWAYS:
        assert heading in page.text
        assert heading in full.text
    for heading in ASKED:
        assert heading not in page.text
        assert heading in full.text
    # A base that others trained has no figures of its pretraining to show.
    for made, shown, silent in ((usual, page, {"base_model", "pretrain_log"}), (complete, full, set())):
        for name, source in made["results"].sources.items():
            assert source in shown.text or name in {"plots", "checks"} | silent
    assert len([tag for tag, _ in page.elements if tag == "svg"]) == 7
    assert len([tag for tag, _ in full.elements if tag == "svg"]) == 10
    assert page.open == full.open == []


def test_every_part_with_a_picture_or_a_table_names_the_file_that_it_is_read_from(complete):
    parts = re.findall(r"<(section|header)\b(.*?)</\1>", html_page(complete), re.DOTALL)
    drawn = [part for _, part in parts if re.search('<svg|<table|class="figure"|id="limits"', part)]
    assert len(drawn) == 13
    for part in drawn:
        assert re.search(r'<p class="source">From <code>[^<]+</code>', part), part[:80]


def test_both_forms_tell_the_same_figures(tmp_path):
    made = contents(tmp_path, usual_cases(), prepare={"leaked_pairs": 3})
    html, markdown = Page(html_page(made)).text, markdown_page(made)
    for figure in ("36.1", "88.8", "+52.7", "653", "2,800,655,360", "1,542,364,160", "0.749", "00:34:40", "2.25"):
        assert figure in html
        assert figure in markdown
    for text in (made["found"].headline, *made["found"].sentences, *made["found"].limits):
        assert text in html
        assert text in markdown


def test_what_a_chat_model_learned_of_its_prompts_stands_beside_the_loss(tmp_path):
    proof = {"parity_cases": 8500, "parity_equal": 8500, "parity_spelled": 3}
    shown = contents(tmp_path, usual_cases(), train=proof)
    for text in (Page(html_page(shown)).text, markdown_page(shown)):
        words = " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())
        assert (
            "In 8,500 of 8,500 cases for training and validation, the training sequence is, token for token," in words
        )
        assert "In 3 cases, a text spells a special token; it is kept as text." in words
    assert "token for token" not in markdown_page(contents(tmp_path / "raw", usual_cases()))


def test_hostile_text_stays_text_in_html(usual, hostile):
    page = Page(html_page(hostile))
    allowed = Page(html_page(usual))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in allowed.elements}
    assert not {"img", "iframe"} & {tag for tag, _ in page.elements}
    assert [dict(attributes).get("type") for tag, attributes in page.elements if tag == "script"] == [
        "application/json",
        None,
    ]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.open == []
    texts = [text for case in page.data["cases"] for text in case["texts"]]
    assert "<script>alert('text became a script')</script>" in texts
    assert "{{ 7 * 7 }} {% raw %} {# comment #}" in texts
    assert "\u202e" not in page.text + "".join(texts)
    assert any(text.startswith("⟨U+202E⟩right to left") for text in texts)
    assert any("שלום עולם" in text for text in texts)
    assert "<i>Title</i> | {{ 1 }}" in page.text


def test_the_page_loads_nothing_from_elsewhere(hostile):
    html = html_page(hostile)
    page = Page(html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            value = attributes.get(name, "")
            assert value.startswith("#") or value in ("", "data:,"), (tag, name, value)
        assert "url(" not in attributes.get("style", "")
    style = (TEMPLATES / "style.css").read_text()
    assert not re.search(r"url\(|@import|@font-face|http", style)
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy == [
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    ]


def test_every_link_leads_to_a_place_in_the_page(usual):
    page = Page(html_page(usual))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)


def markdown_tokens(text):
    markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py, which reads Markdown, is not installed")
    return markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def flat(tokens):
    for token in tokens:
        yield token
        yield from flat(token.children or ())


def test_markdown_tables_stay_tables_under_hostile_text(hostile):
    text = markdown_page(hostile)
    tokens = list(flat(markdown_tokens(text)))
    kinds = {token.type for token in tokens}
    assert not kinds & {"link_open", "image", "html_inline", "em_open", "s_open"}
    html = {line for token in tokens if token.type == "html_block" for line in token.content.split("\n")}
    assert all(re.fullmatch(r"|</?details>|<details( open)?><summary>[\w:, &#;]+</summary>", line) for line in
               (line.replace("\N{NO-BREAK SPACE}", " ") for line in html))  # fmt: skip
    # Every row of a table has as many borders as its header: markdown-it pads and cuts, so the source is looked at.
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert sum(token.type == "table_open" for token in tokens) == 13


def test_markdown_shows_hostile_text_as_it_is(hostile):
    cells = [token.content for token in flat(markdown_tokens(markdown_page(hostile)))]
    shown = " ".join(cells).replace("\N{WORD JOINER}", "")
    assert "<script>alert('text became a script')</script>" in shown
    assert "**bold** _it_ `code` ~~gone~~ $x$" in shown
    assert "[click](javascript:alert(1))" in shown


@pytest.mark.slow
@given(st.text())
def test_any_text_is_one_line_of_plain_markdown(text):
    escaped = str(markdown_text(text))
    assert not re.search(r"[\r\n|<>`*_\[\]\\]", escaped)
    inline = [token for token in flat(markdown_tokens("x " + escaped + " x")) if token.type != "inline"]
    assert {token.type for token in inline} <= {"paragraph_open", "paragraph_close", "text", "text_special"}


def test_markdown_neither_mentions_nor_links():
    for text in ("@team", "www.evil.example", "http://evil.example", "HTTPS://evil.example", "#12"):
        assert text not in str(markdown_text(text)).replace("&#35;", "#")


@pytest.mark.parametrize(
    "counts",
    [
        {"repaired": 1},
        {"both_right": 1},
        {"broken": 2},
        {"both_right": 30, "repaired": 70},
        {"both_wrong_same": 4},
        {"both_right": 39, "repaired": 49, "both_wrong_changed": 10, "invalid_base": 49},
    ],
)
def test_tiny_and_perfect_results_are_whole_pages(tmp_path, counts):
    made = contents(tmp_path, made_cases(**counts), losses=[(1.0, 0.9)])
    for text in (Page(html_page(made)).text, markdown_page(made)):
        assert not re.search(r"\bnan\b|None|undefined|\binf\b", text)
    assert "No case has this transition." in markdown_page(made)


def test_a_task_without_tags_has_no_such_part(tmp_path):
    cases = usual_cases()
    for case in cases:
        case["tags"] = []
    made = contents(tmp_path, cases)
    assert "Slices of the test set" not in html_page(made)
    assert "Slices of the test set" not in markdown_page(made)


def test_a_task_of_two_labels_and_one_input_is_shown(tmp_path):
    task = Classification("classification", ["sentence"], ["no", "yes"], "sentence", "sentence")
    cases = made_cases(labels=task.labels, both_right=20, repaired=15, both_wrong_same=5)
    for case in cases:
        case["sentence"] = case.pop("premise")
    made = contents(tmp_path, cases, task)
    assert "sentence" in Page(html_page(made)).text
    assert "hypothesis" not in html_page(made) + markdown_page(made)


def test_several_devices_are_named_stage_by_stage(usual):
    made = usual
    costs = {**made["results"].costs, "train": {"seconds": 1, "peak_memory_bytes": 1, "device": "NVIDIA A40"}}
    made = {**made, "results": replace(made["results"], costs=costs), "devices": ["CPU", "NVIDIA A40"]}
    assert "NVIDIA A40" in Page(html_page(made)).text
    assert "NVIDIA A40" in markdown_page(made)


@pytest.mark.slow
def test_both_pages_say_what_each_stage_computed_with_stages_of_one_environment_together(tmp_path):
    made = contents(tmp_path, usual_cases(), environment_train={"torch": "2.12.0", "device": "NVIDIA A40 <b>"})
    for text in (Page(html_page(made)).text, unescape(markdown_page(made))):
        text = " ".join(text.split())
        assert "Computed by predict_base, predict_tuned with torch 2.13.0+cpu, transformers 5.23.0, " in text
        assert "Computed by train with torch 2.12.0, " in text
        assert "device NVIDIA A40 <b>, threads 2, attention sdpa, dtype float32" in text
    assert "<b>" not in html_page(made) + markdown_page(made)


def test_both_pages_show_what_was_measured_after_each_epoch_where_a_head_of_labels_learned(tmp_path):
    made = contents(tmp_path / "without", usual_cases())
    assert "validation accuracy" not in html_page(made) + markdown_page(made)
    results = made_results(tmp_path / "with", usual_cases())
    log = [row | {"validation_accuracy": share} for row, share in zip(results.train_log, (0.625, 0.75), strict=False)]
    made = page_contents(replace(results, train_log=log), Report(title="Heads"))
    for text in (html_page(made), markdown_page(made)):
        assert "validation accuracy" in text
        assert "62.5" in text
        assert "75.0" in text


FOUND = {"head": "new", "labels": ["a <b>", "c"], "linear_layers": 14, "dtypes": {"float32": 9}}
FOUND |= {"nf4_layers": 13, "quantized_layers": {"nf4": 13}}


def test_both_pages_say_what_was_found_in_the_models_and_where_the_counts_say_another_thing(tmp_path):
    tuned = FOUND | {"head": "trained", "adapted_layers": 1, "idle_layers": 1, "cautions": ["most of it is as it was"]}
    found = {"environment_predict_base": {"model": FOUND}, "environment_predict_tuned": {"model": tuned}}
    made = contents(tmp_path, usual_cases(), **found)
    layers = "13 of 14 linear layers in NF4, all other weights float32; its head is"
    for text in (Page(html_page(made)).text, unescape(markdown_page(made))):
        text = " ".join(text.split())
        assert f"The base model as loaded: {layers} new; its outputs are a <b>, c, in this order." in text
        assert f"{layers} trained; its outputs are a <b>, c, in this order; an adapter is active on 1 layer, " in text
        assert "of which 1 learned nothing. Most of it is as it was." in text
        assert "The counts, derived from the layout alone, assume " in text
        assert "Computed by predict_base, train, predict_tuned with torch" in text
    assert "<b>" not in html_page(made) + markdown_page(made)
    counted = sum(row["dtype"] == "nf4" for row in made["results"].parameters)
    found = {"environment_predict_base": {"model": FOUND | {"quantized_layers": {"nf4": counted}}}}
    assert "derived from the layout alone" not in markdown_page(contents(tmp_path / "equal", usual_cases(), **found))


@pytest.mark.slow
def test_a_model_with_other_parameters_than_counted_is_named_on_both_pages(tmp_path):
    made = contents(tmp_path / "without", usual_cases())
    counts = made["results"].count_params
    right = {"base": int(counts["base_total"]), "tuned": int(counts["tuned_total"])}
    for off, line in ((0, False), (2, True)):
        found = {
            f"environment_predict_{who}": {"model": FOUND | {"head": "checkpoint", "parameters": n + off}}
            for who, n in right.items()
        }
        made = contents(tmp_path / str(off), usual_cases(), **found)
        for text in (Page(html_page(made)).text, unescape(markdown_page(made))):
            assert ("the counts, derived from the layout alone, give" in " ".join(text.split())) == line
    assert f"It has {right['base'] + 2:,} parameters; " in markdown_page(made)


@pytest.mark.slow
@pytest.mark.parametrize("evidence", [True, False])
def test_energy_is_a_figure_or_said_not_to_have_been_measured(tmp_path, evidence):
    made = contents(tmp_path, usual_cases(), evidence=evidence)
    for text in (Page(html_page(made)).text, markdown_page(made)):
        assert ("Energy, joules" in text) == evidence
        assert ("Energy was not measured" in text) != evidence


def test_the_verdict_for_a_terminal_names_the_checks(tmp_path):
    verdict = plain_verdict(contents(tmp_path, usual_cases(), prepare={"leaked_pairs": 3})["found"])
    assert verdict.startswith("In this checkpoint, fine-tuning raised accuracy")
    assert "Test-set contamination" in verdict


def luminance(colour):
    """Relative luminance of `#rrggbb`, WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(front, back, opacity):
    pairs = [(int(front[i : i + 2], 16), int(back[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(opacity * a + (1 - opacity) * b):02x}" for a, b in pairs)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_is_readable_in_both_modes(mode):
    block = re.findall(r":root \{(.*?)\}", (TEMPLATES / "style.css").read_text(), re.DOTALL)[mode]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for text in ("ink", "muted", "repaired", "broken", "tuned"):
        for ground in ("paper", "panel", "caution-panel"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    # The darkest cell of a confusion matrix, and what a picture draws.
    assert contrast(colours["ink"], mixed(colours["tuned"], colours["paper"], DARKEST)) >= 4.5
    for drawn in ("base", "tuned", "repaired", "broken"):
        assert contrast(colours[drawn], colours["paper"]) >= 3


def test_what_a_head_adds_and_removes_stands_between_base_and_tuned(tmp_path):
    count = {"base_total": 109482240, "removed": 590592, "head_added": 1538, "adapter_added": 0}
    made = contents(tmp_path, usual_cases(), count_params={**count, "tuned_total": 108893186})
    for page in (html_page(made), markdown_page(made)):
        table = page[page.lower().index("base model, logical") : page.lower().index("tuned model, logical")]
        assert "590,592" in table
        assert "+1,538" in table
        assert "dapter" not in table
