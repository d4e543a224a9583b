"""Engines that ask the stub's server, and what they are asked."""

from tests.stub_server import BASE
from tests.tiny import CHOICES, LABELS
from tunediff.config.engine import EngineSection
from tunediff.config.evaluate import Evaluate
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.data.cases import make_cases
from tunediff.engines import open_engine
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import CaseSet, PredictSettings

TEMPLATE = "{premise}\n{hypothesis}\nAnswer:"
CASES = make_cases(
    ({"premise": f"A dog sleeps in the park {i}.", "hypothesis": f"The dog is {word}."}, LABELS[i % 3], ())
    for i, word in enumerate(["not there", "in London", "a zebra", "the zinc of Paris"])
)


def settings_for(url, chat=False, scoring_method="choices", template=TEMPLATE, model=BASE, **engine):
    prompt = Prompt(template=template, choices=CHOICES)
    if chat:
        messages = [{"role": "user", "content": TEMPLATE}]
        prompt = Prompt(messages=messages, choices={name: text.strip() for name, text in CHOICES.items()})
    written = chat or scoring_method == "generation"
    ask = Ask(answer="text" if written else "choices", names=LABELS, choices=prompt.choices, stop=["\n"] * written)
    one = CaseSet(inputs=["premise", "hypothesis"], labels=LABELS, partial_input="hypothesis", prompt=prompt, ask=ask)
    return PredictSettings(
        model=Model(source="server", id=model, head="lm", quantization="none"),
        engine=EngineSection(kind="server", url=url, **engine),
        evaluate=Evaluate(scoring_method="generation" if written else "choices", max_new_tokens=6),
        sets={"test": one},
    )


def engine_of(url, settings=None, **keys):
    return open_engine(settings or settings_for(url, **keys), None)
