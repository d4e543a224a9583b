"""Make or pin the base model: weights trained from scratch, or a manifest that names weights made by others.

python stages/base_model.py --text data/raw --base models/base --cost metrics/cost/base_model.json
"""

from tunediff.cost import measured
from tunediff.errors import run
from tunediff.files import replacing
from tunediff.models.load import find_weights, write_manifest
from tunediff.params import read_params
from tunediff.sources.texts import read_texts
from tunediff.stage import PARAMS, arguments


def main() -> None:
    args = arguments(__doc__, reads=("text",), writes=("base", "cost"))
    params = read_params(PARAMS)
    model, section = params.model, params.pretrain
    with measured(args.cost), replacing(args.base) as folder:
        folder.mkdir()
        if model.source != "scratch":
            weights = find_weights(model)
            write_manifest(folder, model, weights)
            print(
                f"base model: {model.id}{f' at {model.revision}' if model.revision else ''}, weights stay in {weights}"
            )
            return
        # A pinned model needs no training code: it would cost seconds of start-up.
        from tunediff.training.pretrain import pretrain, train_tokenizer

        texts = read_texts(section, args.text)
        tokenizer = train_tokenizer(texts, section.vocab_size, section.max_tokens)
        network, loss = pretrain(texts, tokenizer, dict(model.config or {}), section)
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_manifest(folder, model, folder)
        print(f"base model: {sum(p.numel() for p in network.parameters()):,} parameters from scratch")
        print(f"  read {len(texts):,} documents, mean loss {loss:.3f} nats a token, vocabulary {len(tokenizer):,}")


if __name__ == "__main__":
    run(main)
