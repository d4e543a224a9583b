"""tunediff: what fine-tuning changed, case by case; whether it was worth the GPU; how far to trust the test set."""

from tunediff.runtime.threads import bound_spin

# Here, because OpenMP reads the environment once, when the first module that computes imports torch.
bound_spin()
