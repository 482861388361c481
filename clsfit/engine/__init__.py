"""The training engine: the state of a run, the loop, and one ``infer`` under all judging and applying."""
