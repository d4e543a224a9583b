"""How far words alone go on rows that a bag of words has not learned from."""

from tunediff.tasks.baselines import tfidf_logistic


def accuracy(train_texts, train_labels, test_texts, test_labels):
    predictions = tfidf_logistic(train_texts, train_labels, test_texts)
    return sum(map(str.__eq__, predictions, test_labels)) / len(predictions)
