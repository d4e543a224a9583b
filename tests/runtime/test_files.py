import csv
import json
import os
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.whole_files import read_jsonl
from tunediff.runtime import files as module
from tunediff.runtime.errors import TunediffError, printable
from tunediff.runtime.files import (
    numbered_jsonl,
    output_path,
    read_json,
    read_text,
    replacing,
    shown,
    text_lines,
    write_csv,
    write_json,
    write_jsonl,
    write_text,
)

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def error_of(call, *args):
    with pytest.raises(TunediffError) as caught:
        call(*args)
    [line] = caught.value.args
    assert str(args[0]) in line
    return line


@pytest.mark.parametrize("text", ["../elsewhere", "/etc/passwd", ".", "a/../..", "link/x"])
def test_a_path_that_leads_out_of_the_project_is_error_of(text, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    (tmp_path / "project/link").symlink_to(tmp_path)
    assert "leads out of the project" in error_of(output_path, text)


def test_a_path_inside_the_project_is_kept_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(output_path("metrics/prepare.json")) == "metrics/prepare.json"


def test_what_stood_there_stays_whole_when_writing_fails(tmp_path):
    path = tmp_path / "metrics/prepare.json"
    write_json(path, {"n": 1})
    with pytest.raises(TypeError, match="set"), replacing(path) as fresh, fresh.open("w") as file:
        json.dump({"n": 1, "more": {2}}, file)
    assert read_json(path) == {"n": 1}
    assert [p.name for p in path.parent.iterdir()] == ["prepare.json"]


def test_a_folder_takes_the_place_of_the_one_before_in_whole(tmp_path):
    folder = tmp_path / "splits"
    for name in ("old", "new"):
        with replacing(folder) as fresh:
            write_text(fresh / f"{name}.txt", name)
    assert [p.name for p in folder.iterdir()] == ["new.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["splits"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in error_of(write_text, tmp_path / "file/inside.txt", "x")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert error_of(read_text, tmp_path / "none").endswith("there is no such file")
    assert "cannot be read" in error_of(read_text, tmp_path)
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    assert "byte 0: found bytes that are not UTF-8 text" in error_of(read_text, tmp_path / "latin")


@given(values=st.dictionaries(TEXT, JSON, max_size=5))
def test_any_json_object_is_read_back(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "values.json"
    write_json(path, values)
    assert read_json(path) == values
    assert list(read_json(path)) == list(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("write", "values", "place"),
    [
        (write_json, lambda value: {"n": 1, "accuracy": value}, "accuracy"),
        (write_json, lambda value: {"steps": [{"flips": 1}, {}, {"flips": value}]}, "steps.2.flips"),
        (write_json, lambda value: [{"a": 1}, {"a": (value,)}], "1.a.0"),
        (write_jsonl, lambda value: [{"a": 1.5}, {"a": {"b": [0, value]}}], "a.b.1"),
    ],
)
def test_a_number_that_json_cannot_hold_is_refused_at_any_depth_by_its_place(write, values, place, value, tmp_path):
    path = tmp_path / "made" / "file"
    row = ", row 2" if write is write_jsonl else ""
    assert error_of(write, path, values(value)) == f"{path}{row}: {place}: found {value}, expected a finite number"
    assert list(path.parent.glob("*")) == []


def test_a_list_of_objects_is_checked_as_one_object_is(tmp_path):
    path = tmp_path / "alarms.json"
    write_json(path, [{"name": "a"}, {"value": 0.5}])
    assert read_json(path) == [{"name": "a"}, {"value": 0.5}]
    assert "1.value: found nan" in error_of(write_json, path, [{"name": "a"}, {"value": float("nan")}])


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000])
def test_a_file_that_is_not_json_is_named(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    assert "is not JSON" in error_of(read_json, tmp_path / "a.json")


@given(rows=st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=5))
def test_any_rows_are_read_back_also_with_line_separators_in_their_text(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_jsonl(path, [*rows, {"text": "a\u2028b\u0085c\vd\r\ne"}])
    assert read_jsonl(path) == [*rows, {"text": "a\u2028b\u0085c\vd\r\ne"}]
    assert path.read_bytes().count(b"\n") == len(rows) + 1


def test_a_row_that_is_not_json_or_not_an_object_is_named_by_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1}\n\n{"n": 2\n')
    assert error_of(read_jsonl, path).endswith("row 3: is not JSON: '{\"n\": 2'")
    path.write_text('{"n": 1}\n[2]\n')
    assert error_of(read_jsonl, path).endswith("row 2: found '[2]', expected a JSON object")


def test_a_row_with_a_number_that_is_too_long_for_python_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": ' + "1" * 5000 + "}\n")
    assert "row 1: is not JSON" in error_of(read_jsonl, path)


def test_files_from_windows_read_like_any_other(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n{"n": 2}\r\n')
    assert read_jsonl(tmp_path / "rows.jsonl") == [{"n": 1}, {"n": 2}]
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"n": 1}')
    assert read_json(tmp_path / "a.json") == {"n": 1}


def test_rows_have_the_numbers_of_their_lines(tmp_path):
    (tmp_path / "rows.jsonl").write_text('\n{"n": 1}\n\n{"n": 2}\n')
    assert list(numbered_jsonl(tmp_path / "rows.jsonl")) == [(2, {"n": 1}), (4, {"n": 2})]


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=30)


@given(rows=st.lists(st.fixed_dictionaries({"module": CELL, "n": CELL}), min_size=1, max_size=5))
def test_a_table_is_read_back_by_any_csv_reader(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    write_csv(path, rows)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == rows


def test_a_table_without_rows_is_error_of(tmp_path):
    assert "there are no rows to write" in error_of(write_csv, tmp_path / "rows.csv", [])


def test_the_same_values_make_the_same_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "b": 1,\n  "a": "é"\n}\n'.encode()


@given(value=JSON, width=st.integers(5, 80))
def test_a_shown_value_is_one_line_and_never_too_long(value, width):
    text = shown(value, width)
    assert len(text) <= width
    assert "\n" not in text
    assert text == repr(value) or (text.endswith("…") and repr(value).startswith(text[:-1]))


def test_json_files_hold_what_other_programs_expect(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"premise": "Zwei Hunde – grün"}])
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == '{"premise": "Zwei Hunde – grün"}\n'
    assert json.loads((tmp_path / "rows.jsonl").read_bytes()) == {"premise": "Zwei Hunde – grün"}


# Past a bound


def test_what_is_no_ordinary_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name in ("pipe.jsonl", "zero.jsonl"):
        assert error_of(read_jsonl, tmp_path / name).endswith("cannot be read: it is not a regular file")


def test_a_file_larger_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no room
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**36))
    line = error_of(read_json, tmp_path / "large.json")
    assert line.endswith("found 1,099,511,627,776 bytes, more than the 68,719,476,736 bytes of free memory")


def test_a_line_that_never_ends_is_error_of(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_LINE", 100)
    path = tmp_path / "long.jsonl"
    path.write_text('{"a": 1}\n{"a": "' + "x" * 89 + '"}\n')
    assert len(read_jsonl(path)) == 2
    path.write_text('{"a": 1}\n{"a": "' + "x" * 91 + '"}\n')
    assert error_of(read_jsonl, path).endswith("long.jsonl: byte 9: found a line of 100 bytes or more")


def test_json_of_a_hundred_levels_is_read_and_of_more_is_not(tmp_path):
    path = tmp_path / "deep.json"
    for depth in (1, 99, 100):
        path.write_text("[" * depth + "]" * depth)
        assert isinstance(read_json(path), list)
    path.write_text('["[[[", ' + "[]," * 200 + "7]")
    assert len(read_json(path)) == 202
    for text in ("[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101, "[" * 100_000):
        path.write_text(text)
        assert error_of(read_json, path).endswith("found more than 100 levels of lists and objects")
        path.with_suffix(".jsonl").write_text(text)
        assert "row 1: is not JSON" in error_of(read_jsonl, path.with_suffix(".jsonl"))


def test_a_line_is_printed_without_anything_that_a_terminal_acts_on():
    line = printable("a.csv: names\n the column '\x1b]0;x\x07\x9b31m\u202e\ud800é' twice " + "x" * 10_000)
    assert line.startswith("a.csv: names the column '\\x1b]0;x\\x07\\x9b31m\\u202e\\ud800é' twice xx")
    assert (len(line), line[-1]) == (2000, "…")


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (
            "a café in Paris\n".encode("cp1252"),
            "; it looks like Windows-1252: 'a café in Paris'",
        ),
        ('{"a": 1}\n'.encode("utf-16"), "; it looks like UTF-16"),
        ("日本語\n".encode("shift-jis"), ""),
    ],
)
def test_text_that_is_not_utf8_is_named_with_what_it_looks_like(tmp_path, content, hint):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    for read in (read_text, read_jsonl):
        with pytest.raises(TunediffError) as error:
            read(path)
        assert str(error.value).partition("found bytes that are not UTF-8 text")[2] == hint


def test_utf16_without_its_mark_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("case_id,label\n".encode("utf-16-le"))
    with pytest.raises(TunediffError, match="looks like UTF-16, expected UTF-8"):
        list(text_lines(tmp_path / "a.csv"))


def test_all_lines_that_are_no_json_objects_are_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("{}\nx\n[1]\n{}\ny\n")
    with pytest.raises(TunediffError) as error:
        read_jsonl(path)
    assert list(error.value.args) == [
        f"{path}, row 2: is not JSON: 'x'; 2 such rows (2, 5)",
        f"{path}, row 3: found '[1]', expected a JSON object",
    ]


def test_a_key_that_stands_twice_is_refused_where_each_counts(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": {"b": 1, "b": 2}}')
    assert read_json(path) == {"a": {"b": 2}}
    with pytest.raises(TunediffError, match="is not JSON: has the key 'b' twice"):
        read_json(path, unique_keys=True)
