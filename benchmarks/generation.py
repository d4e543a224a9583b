"""Free generation: batches of like length under a token budget against `model.generate` in batches of 8 in file order.

    python benchmarks/generation.py [--quick]

500 prompts as system A asks them: an instruction and a SNLI case, from 60 to 130 tokens. Both sides decode greedily up
to 16 tokens on the same model and threads, and must write the same texts.
"""

from collections.abc import Sequence

import torch
from setting import CASE, INSTRUCTION, conclude, in_turn, parse, small_llama, snli

from tunediff.engines.local.generate import generate
from tunediff.inputs.tokens import encode_text

NEW_TOKENS, PEER_BATCH = 16, 8


def main() -> None:
    """Check that both sides write the same, time them in turn, and print the ratio."""
    args = parse(__doc__, quick="40 prompts and one round")
    n = 40 if args.quick else 500
    texts = [(INSTRUCTION + CASE).format(**row) for row in snli(n)]
    model, tokenizer = small_llama(texts)
    prompts = [[tokenizer.bos_token_id, *encode_text(tokenizer, text)] for text in texts]

    def ours() -> list[str]:
        return [text for text, _ in generate(model, tokenizer, prompts, 8192, NEW_TOKENS, "tunediff")]

    def theirs() -> list[str]:
        return [
            text for at in range(0, n, PEER_BATCH) for text in peer(model, tokenizer, prompts[at : at + PEER_BATCH])
        ]

    rounds, written = in_turn({"tunediff": ours, "model.generate": theirs}, 1 if args.quick else 3)
    different = sum(a != b for a, b in zip(*written, strict=True))
    conclude(args, "generation", rounds, reach=2.0, agreement=different, tolerance=0)


@torch.inference_mode()
def peer(model, tokenizer, prompts: Sequence[list[int]]) -> list[str]:
    """The texts of one batch, as the documentation of transformers shows it."""
    batch = tokenizer.pad({"input_ids": list(prompts)}, padding_side="left", return_tensors="pt").to(model.device)
    written = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    ends = [row[batch["input_ids"].shape[1] :].tolist() for row in written]
    stops = [row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else len(row) for row in ends]
    return [tokenizer.decode(row[:stop], skip_special_tokens=False) for row, stop in zip(ends, stops, strict=True)]


if __name__ == "__main__":
    main()
