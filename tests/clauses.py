"""What holds of the clauses of an explanation, whatever the task and whatever was measured."""

import json
import re

from tunediff.compare.explanations.causes import MOST_CLAUSES, explain


def check_clauses(fields, rules):
    """Each clause is made of the fields that it cites, of nothing else, and its figures stand in them."""
    clauses = explain(fields, rules)
    assert len(clauses) <= MOST_CLAUSES
    for clause in clauses:
        assert clause.fields
        assert all(fields[name] is not None for name in clause.fields)
        # Made of its fields alone: with nothing else measured it is the same.
        assert clause in explain({name: fields[name] for name in clause.fields}, rules)
        cited = json.dumps([fields[name] for name in clause.fields])
        numbers = [abs(float(number)) for number in re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?", cited)]
        for figure in re.findall(r"\d+\.\d\d", clause.text):
            assert any(f"{number:.2f}" == figure for number in numbers), clause
    for name in fields:
        less = explain({key: value for key, value in fields.items() if key != name}, rules)
        assert not any(name in clause.fields for clause in less)
