"""How learning raises GSNR: Section 3 of Liu et al. 2020 (arXiv 2001.07384).

`dense` has ReLU networks side by side with their gradients by hand, `frozen` the regression with and without
a frozen first layer (Figure 5, Table 1), `weights` the change of mean gradients beside the weights (Figure
6), `first_term` eq. 28 and the split of eq. 33, `shallow` linear models, `tables` what is kept of them.
"""
