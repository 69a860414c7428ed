"""One-step generalisation ratios (GSNR: Liu et al. 2020, Sections 2.2 to 2.4, Appendix A).

`draws` makes training sets and a test set from one noisy distribution, `layers` and `networks` are networks
of which many are computed together, `descent` trains them by full-batch gradient descent, `ratios` measures
both sides of eq. 19, `study` goes over a grid of n, noise and width, `agreement` compares the sides over that
grid, `tables` is what is kept.
"""
