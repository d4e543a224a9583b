"""The parameter counts adds up, and says what a published count counts where that can be known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.models.parameters import ParameterRow, by_module, explanation, read_rows, summary, totals
from tunediff.runtime.files import read_text, write_csv


def row(module, parameter="weight", part="base", kind="linear", n=100, dtype="float32", **changes):
    """A tensor of n parameters; `changes` replaces its other columns."""
    plain = ParameterRow(
        module, parameter, part, kind, (n,), dtype, 0 if part in ("head", "adapter") else n, n, n, 4 * n, False
    )
    return plain._replace(**changes)


def removed(module, n, **changes):
    return row(module, n=n, dtype="removed", tuned=0, stored=0, bytes=0, **changes)


BASE = [
    row("embeddings.word", kind="embedding", n=5000),
    row("embeddings.position_embeddings", kind="embedding", n=640),
    row("layer.0.dense", n=1000),
    row("layer.0.dense", "bias", n=31),
    row("norm", kind="norm", n=17),
]
POOLER = removed("pooler.dense", 400)
HEAD = row("classifier", part="head", n=7, trainable=True)
LORA = row("layer.0.dense", "lora_A", part="adapter", n=53, trainable=True)


def test_repeated_layers_are_added_up_by_tensor_shape_part_and_type():
    rows = [row(f"model.layers.{layer}.mlp.fc1") for layer in range(12)]
    rows += [row(f"model.layers.{layer}.mlp.fc1", "lora_A", part="adapter", n=8, trainable=True) for layer in range(12)]
    rows += [row("model.layers.12.mlp.fc1", n=50)]
    base, adapter, narrow = by_module(rows)
    assert (base.tensor, base.shape, base.tensors) == ("model.layers.*.mlp.fc1.weight", (100,), 12)
    assert (base.base, base.with_head, base.tuned, base.stored, base.bytes) == (1200, 1200, 1200, 1200, 4800)
    assert (adapter.part, adapter.base, adapter.with_head, adapter.tuned) == ("adapter", 0, 0, 96)
    assert adapter.trainable
    assert (narrow.shape, narrow.tensors) == ((50,), 1)


def test_the_number_of_a_tensor_and_of_a_layer_at_the_end_of_a_name_are_layers_too():
    assert [one.tensor for one in by_module([row("net.0"), row("net.1")])] == ["net.*.weight"]


def test_what_is_removed_and_added_leads_from_the_base_to_the_tuned_model():
    found = totals([*BASE, POOLER, HEAD, LORA])
    assert (found["base_total"], found["removed"], found["head_added"]) == (7088, 400, 7)
    assert (found["base_with_head_total"], found["adapter_added"], found["tuned_total"]) == (6695, 53, 6748)
    assert found["trainable"] == 60
    assert found["trainable_percent"] == pytest.approx(100 * 60 / 6748)


parts = st.sampled_from(["kept", "removed", "head", "adapter", "packed", "tied"])


@given(st.lists(st.tuples(parts, st.integers(1, 10**9)), min_size=1))
def test_the_totals_add_up_whatever_the_model(tensors):
    made = {
        "kept": lambda n: row("a", n=n),
        "removed": lambda n: removed("b", n),
        "head": lambda n: row("c", part="head", n=n),
        "adapter": lambda n: row("d", part="adapter", n=n),
        "packed": lambda n: row("e", n=n, dtype="nf4", stored=(n + 1) // 2),
        "tied": lambda n: row("f", n=n, dtype="tied", base=0, tuned=0, stored=0, bytes=0),
    }
    rows = [row("first", n=1), *(made[part](n) for part, n in tensors)]
    found = totals(rows, published=12)
    assert found["base_total"] - found["removed"] + found["head_added"] == found["base_with_head_total"]
    assert found["base_with_head_total"] + found["adapter_added"] == found["tuned_total"]
    assert found["packed_base_total"] <= found["packed_total"] <= found["tuned_total"]
    assert found["base_total"] + found["published_difference"] == found["published_total"] == 12
    for key, value in found.items():
        if key.endswith("_total") and not key.startswith(("packed", "published")):
            column = {"base_total": "base", "base_with_head_total": "with_head", "tuned_total": "tuned"}[key]
            assert sum(getattr(one, column) for one in by_module(rows)) == value


@pytest.mark.parametrize(
    ("rows", "difference", "parts"),
    [
        (BASE, 0, {}),
        ([*BASE, LORA], 53, {"the adapter": 53}),
        ([*BASE, POOLER, HEAD], -393, {"the new head": 7, "what the new head replaces": -400}),
        ([*BASE, row("pooler.dense", n=400), HEAD], -1040, {"the pooler": -400, "position embeddings": -640}),
        (BASE, -5640, {"position embeddings": -640, "other embeddings": -5000}),
        (BASE, -17, {"norms": -17}),
        (
            [*BASE, LORA, row("packed", n=600, dtype="nf4", stored=300)],
            -247,
            {"the adapter": 53, "two 4-bit parameters counted as one": -300},
        ),
        (
            [*BASE, row("lm_head", n=5000, dtype="tied", base=0, tuned=0, stored=0)],
            5000,
            {"the tied output embedding counted twice": 5000},
        ),
        (BASE, -12, None),
        (BASE, 12, None),
    ],
)
def test_a_difference_is_explained_by_the_parts_that_make_it(rows, difference, parts):
    assert explanation(rows, difference) == parts


def test_a_difference_that_several_choices_of_parts_make_is_not_explained():
    ambiguous = [row("norm", kind="norm", n=30), row("pooler", n=10), row("dense", "bias", n=20), row("w", n=999)]
    assert explanation(ambiguous, -10) == {"the pooler": -10}
    assert explanation([*ambiguous, row("position", n=40)], -50) is None  # 40 + 10, and 30 + 20


def test_rows_come_back_from_the_table_as_they_were(tmp_path):
    import csv

    rows = [*BASE, POOLER, HEAD, LORA._replace(shape=(53, 1))]
    write_csv(tmp_path / "parameters.csv", [one._asdict() for one in rows])
    assert read_rows(list(csv.DictReader(read_text(tmp_path / "parameters.csv").splitlines()))) == rows


def test_the_summary_gives_the_arithmetic():
    text = "\n".join(summary([*BASE, POOLER, HEAD, LORA], published=6688))
    for line in (
        "base                    7,088 logical",
        "- removed                 400 pooler.dense",
        "+ head                      7 classifier",
        "= with head             6,695",
        "+ adapter                  53 on 1 layers",
        "= tuned                 6,748",
        "published               6,688 400 fewer than the base: - 400 what the new head replaces",
    ):
        assert line in text


def test_a_count_that_nothing_explains_is_said_to_be_unexplained():
    assert "12 fewer than the base; the layout does not explain why" in "\n".join(summary(BASE, published=6676))
