"""Metrics: every one exact, so that no digit depends on how samples come in batches.

:mod:`.counts` and :mod:`.ranks` (``top_k``) add int64 counts on the logits' device. Where a sum of
floats would depend on its order, :mod:`.kept` holds what is needed of each sample until ``compute``.

In all of them a sample's prediction is the class of its highest logit, the first of equals, and a
sample with a NaN among its logits has no prediction: it counts as wrong as a sample can be.
"""
