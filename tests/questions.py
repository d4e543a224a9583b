"""Cases of question answering for tests: small ones, and those of SQuAD's own file."""

import json

from tunediff.config.prompt import Prompt
from tunediff.config.task import ANSWERABLE, UNANSWERABLE, TaskSection
from tunediff.data.cases import Answer, Case
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import CaseSet

LABELS = [ANSWERABLE, UNANSWERABLE]
QUESTIONS = TaskSection(
    name="question_answering",
    inputs=["question", "context"],
    labels=LABELS,
    source_input="context",
    partial_input="question",
)
PARK = "A man is feeding two dogs in the park. A woman is reading a red book on a bench, and nobody is sleeping."
CASE_SET = CaseSet(
    inputs=QUESTIONS.inputs,
    labels=LABELS,
    partial_input="question",
    prompt=Prompt(max_tokens=48, doc_stride=8),
    ask=Ask(answer="span", names=LABELS),
)


def question(number, text, context, *answers):
    """A case; the answers stand where they first do."""
    gold = tuple(Answer(answer, context.index(answer)) for answer in answers)
    return Case(
        f"{number:016x}", {"question": text, "context": context}, ANSWERABLE if gold else UNANSWERABLE, (), gold
    )


CASES = [
    question(0, "Where is the man?", PARK, "in the park", "the park"),
    question(1, "Who is reading?", PARK, "A woman"),
    question(2, "Who is swimming?", PARK),
    question(3, "What is red?", f"Nobody is here: {PARK}", "book"),
    question(4, "Who runs?", "Two dogs are running after a ball.", "Two dogs"),
    question(5, "After what do the two dogs run?", "Two dogs are running after a ball.", "a ball", "ball"),
    question(6, "Who sleeps?", "Nobody is sleeping: yes, no, maybe."),
]


def squad_cases(path, articles=slice(None)):
    """The cases of a file in SQuAD's layout."""
    data = json.loads(path.read_text(encoding="utf-8"))["data"][articles]
    asked = [(p["context"], qa) for article in data for p in article["paragraphs"] for qa in p["qas"]]
    return [
        Case(
            qa["id"],
            {"question": qa["question"], "context": context},
            ANSWERABLE if qa["answers"] else UNANSWERABLE,
            (),
            tuple(Answer(gold["text"], gold["answer_start"]) for gold in qa["answers"]),
        )
        for context, qa in asked
    ]
