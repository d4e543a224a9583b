"""Nobody outside `tasks/` asks which kind of task it is, neither by name nor by looking for a column."""

import ast

import pytest

from tests.imports import SOURCE

PACKAGE = SOURCE / "tunediff"
KINDS = {"nli", "classification", "question_answering", "QUESTION_ANSWERING", "lm", "span"}
COLUMNS = {
    *("answers", "f1", "f1_base", "f1_tuned", "f1_delta", "base_f1", "tuned_f1", "has_answer_n", "no_answer_n"),
    *("answers_base", "answers_tuned"),
}
# Heads have their own two places; what a section of params.yaml says of itself is no question about another one.
EXCEPT = ("tasks/", "engines/local/", "models/heads.py")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if not str(path.relative_to(PACKAGE)).startswith(EXCEPT))


def questions(tree):
    """The comparisons of a syntax tree that find out what kind of task there is: line, and what is compared."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        names = {word for side in (node.left, *node.comparators) for word in words(side)}
        columns = words(node.left) if any(isinstance(one, ast.In | ast.NotIn) for one in node.ops) else set()
        if found := names & KINDS | columns & COLUMNS:
            yield node.lineno, sorted(found)


def words(node):
    """The texts and names that stand in an expression by themselves."""
    if isinstance(node, ast.Constant):
        return {node.value}
    if isinstance(node, ast.Name):
        return {node.id}
    return set().union(*map(words, node.elts)) if isinstance(node, ast.Tuple | ast.List | ast.Set) else set()


@pytest.mark.parametrize(
    "code",
    [
        'task.name == "question_answering"',
        "task.name != QUESTION_ANSWERING",
        'model.head in ("span", "lm")',
        '"f1_base" in aligned',
        '"answers" not in row',
    ],
)
def test_a_test_of_the_kind_is_found(code):
    assert len(list(questions(ast.parse(code)))) == 1


@pytest.mark.slow
def test_nobody_outside_of_the_tasks_asks_which_task_it_is():
    found = {
        str(path.relative_to(PACKAGE)): list(questions(ast.parse(path.read_text(encoding="utf-8")))) for path in FILES
    }
    assert {path: asked for path, asked in found.items() if asked} == {}
