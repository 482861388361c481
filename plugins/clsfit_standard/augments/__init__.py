"""Augmentations: random changes of training pictures, and the centre crop, which belongs to the preparation.

Those of :mod:`~clsfit_standard.augments.geometry` are matrices, which the core composes with the resize
into one warp. The others change the pictures once they are cut.
"""
