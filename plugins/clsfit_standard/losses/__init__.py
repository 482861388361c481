"""Losses: one value per sample, or one per batch. The core sums them, weighs them and divides once.

All are computed in float32 (float64 for float64 logits): in half precision the loss of a sample
that is wrong with certainty would overflow. Targets are class indices or soft.
"""
