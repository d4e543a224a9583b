"""Samples as lm-evaluation-harness writes them."""

import json

from tunediff.compare.pairs.file_format import ReadOptions
from tunediff.compare.pairs.formats.harness import read_samples
from tunediff.compare.pairs.predictions import Fields


def choice_sample(doc_id, target, likelihoods, acc, choices=(" True", " Neither", " False"), **changes):
    """A line as lm-evaluation-harness 0.4 writes it for a multiple-choice task."""
    prompt = f"Premise {doc_id}. Question: x. True, False, or Neither?\nAnswer:"
    return {
        "doc_id": doc_id,
        "doc": {"premise": f"Premise {doc_id // 2}.", "hypothesis": "x", "label": 0},
        "target": str(target),
        "arguments": {f"gen_args_{i}": {"arg_0": prompt, "arg_1": choice} for i, choice in enumerate(choices)},
        "resps": [[[str(value), "False"]] for value in likelihoods],
        "filtered_resps": [[str(value), "False"] for value in likelihoods],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": f"d{doc_id}",
        "prompt_hash": f"p{doc_id}",
        "target_hash": "t",
        "acc": acc,
        "acc_norm": acc,
    } | changes


def generation_sample(doc_id, answer, right, filter_name="strict-match", **changes):
    """A line as it writes it for gsm8k: every document once for each filter."""
    return {
        "doc_id": doc_id,
        "doc": {"question": "How many?", "answer": "#### 18"},
        "target": "So 18.\n#### 18",
        "arguments": {"gen_args_0": {"arg_0": "Question: How many?\nAnswer:", "arg_1": {"until": ["Question:"]}}},
        "resps": [["It is 18.\n#### 18"]],
        "filtered_resps": [answer],
        "filter": filter_name,
        "metrics": ["exact_match"],
        "doc_hash": f"d{doc_id}",
        "prompt_hash": f"p{doc_id}",
        "target_hash": "t",
        "exact_match": right,
    } | changes


def read(*rows, cluster=None, filter_name=None, **options):
    # As from a file: JSON has no tuples.
    numbered = enumerate(json.loads(json.dumps(rows)), start=1)
    return read_samples(numbered, "samples.jsonl", ReadOptions(Fields(cluster=cluster), part=filter_name, **options))
