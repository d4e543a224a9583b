"""Measure the perplexity of base and tuned model on a text such as WikiText: did fine-tuning harm language modelling?

    tunediff perplexity ../shared/data/wikitext2/wiki.test.raw
    tunediff perplexity wiki.test.tokens --passages 100 --words 60

Run it after the pipeline, for a language model (model.head: lm). The file is UTF-8 text of articles with headings as in
WikiText, or of paragraphs. --passages of --words words each are spread evenly over it; the first word of each is given,
the others are scored. The difference is paired by passage; its bootstrap interval resamples articles. Writes
metrics/perplexity.json, which the report shows after dvc repro --single-item --force report. Bad input ends with one
line and exit code 1.
"""

import argparse
from pathlib import Path

from tunediff.commands.controls import keep
from tunediff.commands.project import both_engines, confidence_of_run, read_project
from tunediff.compare.effects.perplexities import perplexities
from tunediff.config.model import HEADS
from tunediff.data.cases import MODELS
from tunediff.report.controls_and_epochs import perplexity_sentence
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff perplexity`."""
    parser.add_argument("text", type=Path, metavar="FILE", help="UTF-8 text")
    parser.add_argument("--passages", type=int, default=200, metavar="N", help="passages to score (200)")
    parser.add_argument("--words", type=int, default=60, metavar="N", help="words per passage (60)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff perplexity`.

    Raises:
        TunediffError: an argument or the file is invalid, there is no model yet, or it is not a language model.
    """
    for name, value, least in (("passages", args.passages, 1), ("words", args.words, 2)):
        if value < least:
            raise TunediffError(f"--{name}: found {value}, expected a number of at least {least}")
    project = read_project()
    head = project.settings.model.head
    if not HEADS[head].writes:
        raise TunediffError(f"perplexity: found model.head {head}, expected a language-model head (lm)")
    passages = passages_of(args.text, args.words)
    passages = [passages[at * len(passages) // args.passages] for at in range(min(args.passages, len(passages)))]
    nats: dict[str, list[float]] = {}
    tokens: list[int] = []
    for engine, model in zip(both_engines(project), MODELS, strict=True):
        lengths = engine.n_tokens([text for _, text in passages])
        if max(lengths) > engine.context:
            raise TunediffError(
                f"--words: found {args.words}, which yield up to {max(lengths)} tokens, expected at most "
                f"{engine.context}"
            )
        parts = [text.partition(" ") for _, text in passages]
        tokens = [n - first for n, first in zip(lengths, engine.n_tokens([one for one, _, _ in parts]), strict=True)]
        nats[model] = [-engine.loglikelihoods([one], [f" {rest}"], model)[0][0] for one, _, rest in parts]
    articles = [article for article, _ in passages]
    figures = perplexities(nats["base"], nats["tuned"], tokens, articles, confidence_of_run())
    found = {"text": args.text.name, **figures}
    keep("perplexity", found, [perplexity_sentence(found)], args.json)


def passages_of(path: Path, words: int) -> list[tuple[int, str]]:
    """Return the passages of a text, with a fixed number of words, and the number of their article.

    Raises:
        TunediffError: the file is missing or not text, or no article has that many words.
    """
    from tunediff.pretraining.texts import documents_of

    found = []
    for number, document in enumerate(documents_of(read_text(path))):
        text = document.split()
        found += [(number, " ".join(text[at : at + words])) for at in range(0, len(text) - words + 1, words)]
    if not found:
        raise TunediffError(f"{path}: found no article or paragraph of {words} words; lower --words")
    return found
