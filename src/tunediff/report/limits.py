"""Sentences about the limits of the conclusions that a test set allows."""

from tunediff.compare.effects.power import power_sentence
from tunediff.report.notation import counted, level, percent, whole
from tunediff.report.results import Results
from tunediff.stats.intervals import clopper_pearson


def limit_sentences(results: Results) -> list[str]:
    """Return sentences about the limits of the conclusions."""
    diff, n = results.diff_cases, int(results.diff_cases["n"])
    task, confidence, sure = results.task, results.confidence, level(results.confidence)
    sentences = [power_sentence(n, int(diff["repaired"]), int(diff["broken"]), 1 - confidence)]
    right = int(diff["both_right"] + diff["broken"])
    if diff["broken"] == 0 and right:
        _, high = clopper_pearson(0, right, confidence)
        sentences.append(
            f"Zero broken cases out of {whole(right)} are consistent with a true rate of up to {percent(high)} "
            f"(exact {sure} interval)."
        )
    if diff["accuracy_tuned"] == 1:
        _, high = clopper_pearson(0, n, confidence)
        sentences.append(
            f"The {results.models.tuned} made no error here but may still be wrong on up to {percent(high)} of such "
            f"cases (exact {sure} interval)."
        )
    texts = results.source_texts
    if texts is not None and texts < n and (len(task.inputs) > 1 or not results.prepare):
        sentences.append(
            f"The {counted(n, 'case')} share {counted(texts, f'different {task.source_input}')}. The interval of the "
            "difference accounts for this; the exact test treats the cases as independent."
        )
    if results.train:
        sentences.append("The model was trained once: variation between training seeds was not measured.")
    elif results.prepare:
        sentences.append("The tuned model was not trained here: variation between training runs is unknown.")
        if "train_n" not in results.prepare:
            sentences.append("Its training data are unknown too, so test-set contamination cannot be ruled out.")
    else:
        sentences.append("Two prediction files show neither why the models differ nor how much training runs vary.")
    return sentences
