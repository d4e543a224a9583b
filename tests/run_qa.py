"""How transformers' example script run_qa turns logits into answers: what ours are compared with."""

import collections

import numpy as np


def run_qa_predictions(cases, rows, offsets, logits, longest, n_best=20, with_null=True):
    """`postprocess_qa_predictions` of transformers' examples (utils_qa.py, Apache 2.0), its loop as it stands."""
    predictions, differences = {}, {}
    all_start_logits, all_end_logits = logits
    features_of = collections.defaultdict(list)
    for i, case in enumerate(rows):
        features_of[case].append(i)
    for example_index, example in enumerate(cases):
        min_null_prediction, prelim_predictions = None, []
        for feature_index in features_of[example_index]:
            start_logits, end_logits = all_start_logits[feature_index], all_end_logits[feature_index]
            offset_mapping = offsets[feature_index]
            feature_null_score = start_logits[0] + end_logits[0]
            if min_null_prediction is None or min_null_prediction["score"] > feature_null_score:
                min_null_prediction = {"offsets": (0, 0), "score": feature_null_score}
            start_indexes = np.argsort(start_logits)[-1 : -n_best - 1 : -1].tolist()
            end_indexes = np.argsort(end_logits)[-1 : -n_best - 1 : -1].tolist()
            for start_index in start_indexes:
                for end_index in end_indexes:
                    if (
                        start_index >= len(offset_mapping)
                        or end_index >= len(offset_mapping)
                        or offset_mapping[start_index] is None
                        or offset_mapping[end_index] is None
                    ):
                        continue
                    if end_index < start_index or end_index - start_index + 1 > longest:
                        continue
                    prelim_predictions.append(
                        {
                            "offsets": (offset_mapping[start_index][0], offset_mapping[end_index][1]),
                            "score": start_logits[start_index] + end_logits[end_index],
                        }
                    )
        if with_null:
            prelim_predictions.append(min_null_prediction)
        best = sorted(prelim_predictions, key=lambda x: x["score"], reverse=True)[:n_best]
        if with_null and not any(p["offsets"] == (0, 0) for p in best):
            best.append(min_null_prediction)
        for prediction in best:
            start, end = prediction.pop("offsets")
            prediction["text"] = example.inputs["context"][start:end]
        i = 0
        while i < len(best) and best[i]["text"] == "":
            i += 1
        if i == len(best):
            differences[example.case_id] = None
            predictions[example.case_id] = ""
            continue
        differences[example.case_id] = min_null_prediction["score"] - best[i]["score"]
        predictions[example.case_id] = "" if with_null and differences[example.case_id] > 0 else best[i]["text"]
    return predictions, differences
