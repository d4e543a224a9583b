import json
import struct
import zlib
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa
import pytest

from tests.compare.pairs.formats.reading import read, told
from tests.foreign_logs import failed, log, sample
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime.errors import TunediffError


def test_outcomes_are_those_of_the_scorer_and_the_first_scorer_is_named(tmp_path):
    found = read(tmp_path, "log.json", log(sample(1), sample("two", value="I", answer="5")))
    assert told(found, "case_id", "label", "prediction", "outcome", "prompt") == [
        ["1", "4", "4", "right", "What is 1?"],
        ["two", "4", "5", "wrong", "What is two?"],
    ]
    assert found.origin == "a log of inspect_ai, metric match (of match, length)"
    assert found.checks == ()


@pytest.mark.parametrize(
    ("value", "outcome"),
    [("C", "right"), ("I", "wrong"), ("N", "invalid"), (1, "right"), (0.0, "wrong"), (True, "right"), ("no", "wrong")],
)
def test_values_mean_what_inspect_makes_of_them(tmp_path, value, outcome):
    assert told(read(tmp_path, "log.json", log(sample(1, value=value))), "outcome") == [[outcome]]


def test_epochs_are_cases_of_their_own_in_the_cluster_of_their_sample_and_are_named(tmp_path):
    found = read(tmp_path, "log.json", log(*(sample(n, epoch) for epoch in (1, 2, 3) for n in (1, 2))))
    assert found.frame["case_id"].tolist() == ["1 #1", "2 #1", "1 #2", "2 #2", "1 #3", "2 #3"]
    assert found.frame["cluster"].tolist() == ["1", "2"] * 3
    ((code, sentence),) = found.checks
    assert code == "TD404"
    assert "The 2 cases of" in sentence
    assert "are answered 3 times each. Each of the 6 answers counts as a case" in sentence


def test_a_sample_without_a_score_is_invalid_and_counted_with_its_reason(tmp_path):
    samples = [sample(1), failed(2), failed(3), sample(4, value="N"), sample(5, value=float("nan"))]
    found = read(tmp_path, "log.json", log(*samples, sample(6, invalidation={"author": "me"}), status="error"))
    assert found.frame["outcome"].tolist() == ["right"] + ["invalid"] * 5
    ((code, sentence),) = found.checks
    assert code == "TD405"
    assert "5 of the 6 answers of" in sentence
    assert "(error ValueError 2, no answer 1, NaN 1, ...)" in sentence
    assert found.origin.endswith("metric match (of match, length), status error")


def test_a_score_between_right_and_wrong_takes_a_threshold(tmp_path):
    whole = log(sample(1), sample(2, value="P"), sample(3, value="P"))
    with pytest.raises(TunediffError, match=r"row 2: match: found 0.5, expected 0 or 1 .*; 2 such rows \(2, 3\)"):
        read(tmp_path, "log.json", whole)
    assert read(tmp_path, "log.json", whole, threshold=0.5).frame["outcome"].tolist() == ["right"] * 3
    strict = read(tmp_path, "log.json", whole, threshold=0.75)
    assert strict.frame["outcome"].tolist() == ["right", "wrong", "wrong"]
    assert strict.frame["scorer"].tolist() == ["match >= 0.75"] * 3


def test_a_scorer_of_several_values_is_named_with_the_value(tmp_path):
    scores = {"two": {"value": {"a": 1, "b": 0.5}, "answer": "x", "history": []}}
    found = read(tmp_path, "log.json", log(sample(1, scores=scores)))
    assert found.origin == "a log of inspect_ai, metric two.a (of two.a, two.b)"
    with pytest.raises(TunediffError, match=r"metric: found two.a, two.b, expected .* instead of x"):
        read(tmp_path, "log.json", log(sample(1, scores=scores)), metric="x")


def test_an_answer_that_is_the_target_and_is_called_wrong_is_named(tmp_path):
    found = read(tmp_path, "log.json", log(sample(1), sample(2, value="I")))
    ((code, sentence),) = found.checks
    assert code == "TD402"
    assert sentence.startswith("In 1 of 2 cases of")


def test_messages_choices_and_attachments_are_the_prompt_and_the_metadata_has_clusters(tmp_path):
    message = {"role": "user", "content": [{"type": "text", "text": "attachment://ab"}]}
    one = sample(1, input=[message], choices=["yes", "no"], attachments={"ab": "A long question?"}, target=["A", "B"])
    found = read(tmp_path, "log.json", log(one), Fields(cluster="topic"))
    assert told(found, "prompt", "label", "cluster") == [["A long question?\n- yes\n- no", "A, B", "t1"]]
    with pytest.raises(TunediffError, match=r"row 1: found no field author among 'topic' \(--cluster-field\)"):
        read(tmp_path, "log.json", log(one), Fields(cluster="author"))


def test_a_log_of_its_first_version_has_one_score(tmp_path):
    old = sample(1, score={"value": "C", "answer": "4"})
    del old["scores"]
    assert told(read(tmp_path, "log.json", log(old, version=1)), "outcome") == [["right"]]


def zstandard_archive(files):
    """A ZIP archive compressed by method 93, as inspect_ai writes it since version 0.3.14x; Python 3.11 cannot."""
    body, directory = b"", b""
    for name, data in files.items():
        packed = pa.compress(data, "zstd", asbytes=True)
        head = struct.pack("<HHHHHIIIHH", 63, 0, 93, 0, 33, zlib.crc32(data), len(packed), len(data), len(name), 0)
        directory += struct.pack("<4sH", b"PK\1\2", 63) + head + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += name.encode()
        body += struct.pack("<4s", b"PK\3\4") + head + name.encode() + packed
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, len(files), len(files), len(directory), len(body), 0)
    return body + directory + end


def parts(*samples):
    header = log(*samples)
    del header["samples"]
    files = {"_journal/start.json": {"version": 2, "eval": header["eval"]}}
    files |= {f"samples/{one['id']}_epoch_{one['epoch']}.json": one for one in samples}
    files |= {"summaries.json": [], "header.json": header}
    return {name: json.dumps(value).encode() for name, value in files.items()}


@pytest.mark.parametrize("method", ["deflate", "zstandard"])
def test_an_archive_says_what_its_json_says(tmp_path, method):
    samples = [sample("a/b", epoch, value=value) for epoch, value in ((1, "C"), (2, "I"))] + [sample(7), sample(7, 2)]
    files = parts(*samples)
    path = tmp_path / "log.eval"
    if method == "deflate":
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        content = path.read_bytes()
    else:
        content = zstandard_archive(files)
    found, same = read(tmp_path, "log.eval", content), read(tmp_path, "log.json", log(*samples))
    columns = ("case_id", "label", "prediction", "outcome", "prompt", "cluster")
    assert told(found, *columns) == told(same, *columns)
    assert found.origin == same.origin


def test_what_is_no_log_or_is_damaged_is_refused_in_a_line(tmp_path):
    files = parts(sample(1))
    whole = zstandard_archive(files)
    for content, message in (
        (b"PK nothing", "is not a readable log of inspect_ai: File is not a zip file"),
        (whole.replace(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe"), "is not a readable log of inspect_ai"),
        (zstandard_archive({"a.json": b"{}"}), "found no header.json in the archive"),
        (zstandard_archive({"header.json": files["header.json"]}), "found no sample, expected a log with its samples"),
        (zstandard_archive(files | {"samples/1_epoch_1.json": b"{"}), r"samples/1_epoch_1.json: is not JSON"),
    ):
        with pytest.raises(TunediffError, match=message):
            read(tmp_path, "log.eval", content)
    for whole_log, message in (
        (log(), "found no sample"),
        (log(3), "row 1: found 3, expected a sample of inspect_ai"),
        (log(sample(1, epoch="x")), "row 1: epoch: found 'x', expected a whole number"),
        (log(failed(1)), "metric: found none, expected one of them as --metric"),
    ):
        with pytest.raises(TunediffError, match=message):
            read(tmp_path, "log.json", whole_log)


@pytest.mark.parametrize(("message", "why"), [("", "unknown"), ("(401) Unauthorized", "unknown"), ("a\nb", "a")])
def test_an_error_of_few_words_is_a_reason_all_the_same(message, why, tmp_path):
    broken = failed(2) | {"error": {"message": message}}
    ((_, sentence),) = read(tmp_path, "log.json", log(sample(1), broken)).checks
    assert f"(error {why} 1)" in sentence
