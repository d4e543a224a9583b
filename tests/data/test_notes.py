import pytest

from tunediff.data.leaks import Leaks
from tunediff.data.notes import Notes, read_notes, write_notes
from tunediff.runtime.errors import TunediffError


def test_notes_survive_their_file(tmp_path):
    leaks = Leaks(["a"], ["a", "b"], [], {"c": ["d"]})
    notes = {"test": Notes(leaks, {"channel": ["web", None, "Ünï"]}), "further": Notes()}
    write_notes(tmp_path / "notes.json", notes)
    assert read_notes(tmp_path / "notes.json") == notes


@pytest.mark.parametrize("text", ['{"train_n": 3}', "[]", '{"test": {"leaks": {"x": 1}, "slices": {}}}', "3"])
def test_another_file_is_named(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(TunediffError, match=r"other.json: found no notes, expected the output of the stage prepare"):
        read_notes(tmp_path / "other.json")
