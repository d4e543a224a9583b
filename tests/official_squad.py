"""The official scripts of SQuAD in their own slow way: what ours are compared with."""

import string
from collections import Counter

import numpy as np


def words_of(text):
    """As the official scripts do it, in other words."""
    kept = "".join(char for char in text.lower() if char not in string.punctuation)
    return [word for word in kept.replace(" the ", " ").split() if word not in ("a", "an", "the")]


def official_v1(answers, predictions):
    """evaluate-v1.1.py: without shared words there is no F1, also between two empty texts."""
    exact, f1 = [], []
    for references, prediction in zip(answers, predictions, strict=True):
        found, best = words_of(prediction), 0.0
        for words in map(words_of, references):
            shared = (Counter(words) & Counter(found)).total()
            best = max(best, 2 * shared / (len(words) + len(found)) if shared else 0.0)
        exact.append(found in [words_of(reference) for reference in references])
        f1.append(best)
    return {"exact_match": 100 * np.mean(exact), "f1": 100 * np.mean(f1)}


def official_best(scores, answerable, texts, no_answer):
    """find_best_thresh of evaluate-v2.0.py: question by question by rising probability, the best so far kept."""
    best = current = sum(not has for has in answerable)
    threshold = 0.0
    for row in sorted(range(len(scores)), key=lambda row: no_answer[row]):
        if answerable[row]:
            current += scores[row]
        elif texts[row]:
            current -= 1
        if current > best:
            best, threshold = current, no_answer[row]
    return best / len(scores), threshold
