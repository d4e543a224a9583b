"""Files written and read in one call, where the program goes through them part by part."""

from tunediff.data.answers import answers_writer
from tunediff.data.cases import predictions_writer
from tunediff.runtime.files import numbered_jsonl


def write_predictions(path, frame, about):
    with predictions_writer(path, about) as write:
        write(frame)


def write_answers(path, frame, about):
    with answers_writer(path, about) as write:
        write(frame)


def read_jsonl(path):
    return [row for _, row in numbered_jsonl(path)]
