"""Scoring choices: one forward pass a case against one row a choice, as lm-evaluation-harness does it.

    python benchmarks/choices.py [--labels multi|single|protocols] [--model FOLDER] [--quick]

Both sides get the same model, the same SNLI rows and the same threads. The harness runs inside this process through
its own `HFLM.loglikelihood`; its start-up is not counted. Tokenising is part of both sides. `protocols` asks for three
protocols (as asked, calibrated for the label prior, without the premise): the harness runs three times.

A last run of our side, in no round, counts the tokens that its model reads: what it uses of the device's matrix rate.
"""

from collections.abc import Sequence

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from setting import CASE, INSTRUCTION, conclude, decoder, in_turn, parse, snli
from work import utilisation, watched

from tunediff.compare.effects.label_bias import calibrated
from tunediff.config.prompt import Prompt
from tunediff.config.task import TaskSection
from tunediff.data.cases import make_cases
from tunediff.engines.alone import ROUNDING
from tunediff.engines.local.choices import score_choices
from tunediff.engines.other_settings import partial_input
from tunediff.inputs.joins import join
from tunediff.inputs.prompts import render_cases
from tunediff.inputs.tokens import encode_prompts

LABELS = {
    "multi": [" it follows from it", " it may be so", " it cannot be so"],
    "single": [" yes", " maybe", " no"],
}
# Each side at the size that is fastest for it on a CPU: of 1,024 to 8,192 tokens here, of 8 to 128 rows there. On a GPU
# sixteen times as much on both sides, which nobody has tried yet.
BATCH_TOKENS, PEER_BATCH = (32768, 1024) if torch.cuda.is_available() else (2048, 64)
# The harness holds the logits of all places of a batch, in float32: of 1,024 rows and 128,000 tokens that is 65 GB.
PEER_LOGITS, ROW_TOKENS = 8 * 2**30, 130
REACH = {"multi": 6.0, "single": 3.0, "protocols": 10.0}
TASK = TaskSection(
    name="nli",
    inputs=["premise", "hypothesis"],
    labels=["entailment", "neutral", "contradiction"],
    source_input="premise",
    partial_input="hypothesis",
)


def main() -> None:
    """Check that both sides agree, time them in turn, and print the ratio."""
    labels = ("multi", list(REACH), "answer texts, or three protocols in one go")
    args = parse(__doc__, quick="100 rows and one round", model=True, labels=labels)
    rows = snli(100 if args.quick else 2000)
    texts = LABELS["single" if args.labels == "single" else "multi"]
    cases = make_cases(
        [({"premise": row["premise"], "hypothesis": row["hypothesis"]}, TASK.labels[row["label"]], ()) for row in rows]
    )
    alone = [partial_input(case, "hypothesis") for case in cases]
    asked = [cases, alone] if args.labels == "protocols" else [cases]
    read = [(INSTRUCTION + CASE).format(**case.inputs) + text for case in cases for text in texts]
    model, tokenizer = decoder(args.model, read)
    prompt = Prompt(template=INSTRUCTION + CASE, choices=dict(zip(TASK.labels, texts, strict=True)))
    most = PEER_LOGITS // (4 * ROW_TOKENS * model.config.vocab_size)
    # It sums log-probabilities in the model's dtype, unless it is told: of bfloat16, 40 is rounded to a quarter.
    peer = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=max(1, min(PEER_BATCH, most)),
        add_bos_token=True,
        softmax_dtype="float32",
    )

    def count(prompts: Sequence[str]) -> list[int]:
        return list(map(len, encode_prompts(tokenizer, prompts)))

    def ours() -> list[torch.Tensor]:
        scores = []
        for group in asked:
            prompts = [one.text for one in render_cases(group, prompt, count, 1024, 8)]
            joined = join(tokenizer, prompts, [texts] * len(prompts), 1024)
            rows, choices = [one.prompt for one in joined], [one.answers for one in joined]
            scores.append(score_choices(model, rows, choices, BATCH_TOKENS, "tunediff"))
        if args.labels == "protocols":
            # The harness scores a template of its own for the prior; what it takes is the same, so its scores are too.
            calibrated(scores[0].log_softmax(-1).numpy())
            scores.append(scores[0])
        return scores

    def theirs() -> list[torch.Tensor]:
        # The calibrated protocol is a run of its own in the harness, with a template of its own for each prior.
        groups = [cases, alone, cases] if args.labels == "protocols" else [cases]
        return [harness_scores(peer, group, texts) for group in groups]

    rounds, scores = in_turn({"tunediff": ours, "lm-evaluation-harness": theirs}, 1 if args.quick else 2)
    agreement = max(float((a - b).abs().max()) for a, b in zip(*scores, strict=True))
    with watched(model, tokenizer.pad_token_id) as seen:
        ours()
    # Of fewer bits than float32, two batches of the same case differ by more.
    tolerance = 1e-4 if model.dtype == torch.float32 else ROUNDING[str(model.dtype).removeprefix("torch.")]
    used = utilisation(model, seen, per_weight=2)
    conclude(args, f"choices, {args.labels}", rounds, REACH[args.labels], agreement, tolerance, **used)


def harness_scores(peer: HFLM, cases: Sequence, texts: Sequence[str]) -> torch.Tensor:
    """Log-likelihoods of shape (n_cases, n_choices) as the harness gives them."""
    requests = [
        Instance("loglikelihood", {}, ((INSTRUCTION + CASE).format(**case.inputs), text), i)
        for i, case in enumerate(cases)
        for text in texts
    ]
    found = [score for score, _ in peer.loglikelihood(requests, disable_tqdm=True)]
    return torch.tensor(found, dtype=torch.float64).view(len(cases), len(texts))


if __name__ == "__main__":
    main()
