"""Biases of the batch-norm layers of trained networks (LUCK: Section 4.1, Figure 6).

`weights` finds a network's weights wherever they are, `study` counts, `tables` is what is kept.
"""
