"""Schedulers: the learning rate as a function of the optimizer step, for each parameter group.

Counts are optimizer steps, from 0. A linear warm-up of w steps (Goyal et al. 2017,
https://arxiv.org/abs/1706.02677) gives step t < w the rate ``base * (t + 1) / w``, where base is the
rate with which the group was built. State is the counter, and what a rule remembers; the rule itself
comes from the options.
"""
