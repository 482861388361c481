"""Pictures and labels, without torch: the sample table, sources, split, checks, decoding, canvases."""
