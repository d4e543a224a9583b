import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shared_data import shared_data
from tunediff.data.sources.table_files import read_rows
from tunediff.runtime.errors import TunediffError

# Any text that a file can hold; \r is a line end where the file is read, as editors show it.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=30)


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def error_of(path):
    with pytest.raises(TunediffError) as caught:
        read_rows(path)
    [line] = caught.value.args
    assert str(path) in line
    return line


@given(rows=st.lists(st.fixed_dictionaries({"premise": TEXT, "label": st.integers() | st.none()}), min_size=1))
def test_json_lines_give_back_any_text(rows, tmp_path_factory):
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path = write(tmp_path_factory.mktemp("rows"), "rows.jsonl", text)
    assert read_rows(path) == rows
    assert [row.number for row in read_rows(path)] == list(range(1, len(rows) + 1))


@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1))
def test_csv_gives_back_any_text_without_blanks_around_it(rows, tmp_path_factory):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("premise", "label"), *rows])
    path = write(tmp_path_factory.mktemp("rows"), "rows.csv", buffer.getvalue())
    found = [(row["premise"], row["label"]) for row in read_rows(path)]
    assert found == [(premise.strip(), label.strip()) for premise, label in rows]


@given(rows=st.lists(st.tuples(TEXT, st.integers(-1, 2)), min_size=1))
def test_parquet_gives_back_any_text(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.table({"premise": [t for t, _ in rows], "label": [n for _, n in rows]}), path)
    assert [(row["premise"], row["label"]) for row in read_rows(path)] == rows


def test_a_tab_separated_file_keeps_quotation_marks_and_spaces_as_text(tmp_path):
    path = write(tmp_path, "train.tsv", 'sentence\tlabel\n"broken , it \'s 1\t0\na "good" film . \t1\n')
    assert read_rows(path) == [
        {"sentence": "\"broken , it 's 1", "label": "0"},
        {"sentence": 'a "good" film . ', "label": "1"},
    ]


def test_sst2_as_glue_publishes_it_is_read_whole():
    rows = read_rows(shared_data("sst2/train.tsv"))
    assert len(rows) == 67_349
    assert rows[0] == {"sentence": "hide new secretions from the parental units ", "label": "0"}
    assert rows[0].place.endswith("sst2/train.tsv, row 2")


def test_rows_are_counted_as_in_a_spreadsheet_beside_the_line_where_they_differ(tmp_path):
    jsonl = write(tmp_path, "a.jsonl", '{"n": 1}\n\n{"n": 2}\n')
    assert [(row["n"], row.number) for row in read_rows(jsonl)] == [(1, 1), (2, 3)]
    quoted = write(tmp_path, "a.csv", 'text,label\n"two\nlines",0\n\nplain,1\n')
    assert [(row["text"], row.number) for row in read_rows(quoted)] == [("two\nlines", 2), ("plain", "4 (line 5)")]
    tabs = write(tmp_path, "a.tsv", "text\tlabel\n\nx\t0\n")
    assert [row.number for row in read_rows(tabs)] == [3]
    assert read_rows(tabs)[0].place == f"{tabs}, row 3"


def test_files_from_windows_read_like_any_other(tmp_path):
    table = write(tmp_path, "a.csv", b"\xef\xbb\xbftext,label\r\nx,0\r\n")
    assert read_rows(table) == [{"text": "x", "label": "0"}]
    lines = write(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"text": "x"}\r\n{"text": "y"}\r\n')
    assert read_rows(lines) == [{"text": "x"}, {"text": "y"}]


@pytest.mark.parametrize(
    "line",
    ['{"premise": "a"', "premise", '{"n": ' + "1" * 5000 + "}", "[" * 20_000],
    ids=["open", "bare", "huge", "deep"],
)
def test_a_row_that_is_not_json_is_named(line, tmp_path):
    path = write(tmp_path, "rows.jsonl", f'{{"premise": "ok"}}\n{line}\n')
    assert "row 2: is not JSON" in error_of(path)


def test_a_json_row_that_is_not_an_object_is_named(tmp_path):
    path = write(tmp_path, "rows.jsonl", '{"premise": "ok"}\n["premise"]\n')
    assert error_of(path).endswith("row 2: found '[\"premise\"]', expected a JSON object")


def test_a_row_with_too_many_or_too_few_fields_is_named(tmp_path):
    assert error_of(write(tmp_path, "a.tsv", "text\tlabel\nx\t0\ny\n")).endswith("row 3: found 1 fields, expected 2")
    assert error_of(write(tmp_path, "a.csv", "text,label\na, b,0\n")).endswith("row 2: found 3 fields, expected 2")


def test_a_quotation_mark_that_is_never_closed_does_not_swallow_the_rest(tmp_path):
    assert "row 2: is not CSV" in error_of(write(tmp_path, "a.csv", 'text,label\n"x,0\ny,1\n'))


def test_a_column_named_twice_is_refused(tmp_path):
    assert "'text' twice" in error_of(write(tmp_path, "a.csv", "text,text\nx,0\n"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.parquet"])
def test_a_missing_file_is_named(name, tmp_path):
    assert error_of(tmp_path / name).endswith("there is no such file")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_a_file_that_is_not_text_is_named(name, tmp_path):
    assert "not UTF-8" in error_of(write(tmp_path, name, b'{"text": "a"}\n\xff\xfe,0\n'))


def test_a_file_that_is_not_parquet_is_named(tmp_path):
    assert "is not a readable Parquet file" in error_of(write(tmp_path, "a.parquet", "text,label\n"))


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", "\n"), ("a.csv", "text,label\n"), ("a.tsv", "")])
def test_a_file_without_rows_is_refused(name, text, tmp_path):
    assert error_of(write(tmp_path, name, text)).endswith("has no row, expected at least one")


def test_another_kind_of_file_is_refused_with_the_kinds_that_are_read(tmp_path):
    line = error_of(write(tmp_path, "a.doc", "x"))
    assert "'.doc'" in line
    assert "expected .jsonl, .ndjson, .csv, .tsv, .xlsx, .parquet" in line
    assert "'.gz'" in error_of(write(tmp_path, "a.parquet.gz", "x"))


TABLE = "premise,label\nOne dög.,yes\n Two ,no\n"


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.csv", TABLE.replace(",", ";"), {}),
        ("a.csv", TABLE.replace(",", "|"), {}),
        ("a.csv", TABLE.replace(",", "\t"), {}),
        ("a.csv", TABLE.replace(",", "~"), {"delimiter": "~"}),
        ("a.csv", TABLE, {"encoding": "cp1252"}),
        ("a.csv", TABLE, {"encoding": "utf-16"}),
        ("a.CSV.gz", TABLE, {}),
        ("a.tsv.gz", TABLE.replace(",", "\t").replace(" Two ", "Two"), {}),
        ("a.ndjson", '{"premise": "One dög.", "label": "yes"}\n{"premise": "Two", "label": "no"}', {}),
        ("a.jsonl.gz", '{"premise": "One dög.", "label": "yes"}\n{"premise": "Two", "label": "no"}', {}),
    ],
)
def test_a_table_is_the_same_in_every_form(name, text, options, tmp_path):
    content = text.encode(options.get("encoding", "utf-8"))
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_rows(tmp_path / name, **options) == [
        {"premise": "One dög.", "label": "yes"},
        {"premise": "Two", "label": "no"},
    ]


def test_a_workbook_is_read_as_text(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for line in (("premise", "label"), (" One ", 1), (None, None), ("Two", None), ("Three", 2.5)):
        book.active.append(line)
    book.save(tmp_path / "a.xlsx")
    found = read_rows(tmp_path / "a.xlsx")
    assert [(row["premise"], row["label"], row.number) for row in found] == [
        *[("One", "1", 2), ("Two", "", 4), ("Three", "2.5", 5)]
    ]


def test_a_file_that_is_no_workbook_or_not_packed_is_refused(tmp_path):
    assert "is not a readable workbook" in error_of(write(tmp_path, "a.xlsx", "x"))
    assert "a.csv.gz: cannot be read: Not a gzipped file" in error_of(write(tmp_path, "a.csv.gz", "a,b"))
    whole = gzip.compress(b"a,b\n1,2\n")
    (tmp_path / "b.csv.gz").write_bytes(whole[:-4])
    assert "b.csv.gz: cannot be decompressed" in error_of(tmp_path / "b.csv.gz")


def test_text_that_is_not_of_the_named_encoding_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("premise,label\nOne dög.,yes\n".encode("cp1252"))
    with pytest.raises(TunediffError, match=r"a\.csv: byte 14: found .* expected ascii text"):
        read_rows(path, "ascii")
