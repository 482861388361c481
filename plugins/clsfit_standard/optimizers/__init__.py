"""Optimizers: torch's rules, to the bit, without the weight of ``torch.optim``'s wrappers."""
