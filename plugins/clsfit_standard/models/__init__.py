"""Models: pictures [B, C, H, W] float in, logits [B, K] out."""
