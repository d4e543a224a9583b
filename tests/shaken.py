"""A model whose trained weights have moved, and what a model answers: to see whether weights were kept."""

import torch

TOKENS = torch.tensor([[3, 9, 40, 7, 12], [5, 5, 8, 30, 31]])


def shake(model):
    """Stand in for training: move every trained weight a little."""
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn_like(weight)
    return model.eval()


@torch.no_grad()
def answers(model):
    """Logits behind two rows of tokens, of shape (2, 5, vocabulary)."""
    return model(TOKENS).logits
