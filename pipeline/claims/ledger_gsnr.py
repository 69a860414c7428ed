"""The claims of GSNR: Liu et al. 2020, Understanding why neural networks generalize, arXiv 2001.07384."""

from pipeline.claims import learning, one_step_ratios, signal_to_noise
from pipeline.claims.claim import Built, Claim, Needs

PAPER = "GSNR"

GSNR = (
    Claim(
        "G-1",
        PAPER,
        "Section 2.4, Figure 3",
        "The one-step generalisation ratio measured on MNIST equals the one that GSNR predicts.",
        "points on LHS = RHS early, then scatter; Pearson stays about .9",
        built=one_step_ratios.MNIST,
    ),
    Claim(
        "G-2",
        PAPER,
        "Appendix A.2, Figure 7",
        "On CIFAR-10 the two ratios leave the diagonal and stay strongly correlated.",
        "strong correlation at every epoch shown",
        built=one_step_ratios.CIFAR,
    ),
    Claim(
        "G-3",
        PAPER,
        "Appendix A.3, Figure 8",
        "On a toy regression the two ratios agree early, and stay correlated at convergence.",
        "LHS close to RHS early; at convergence RHS falls, correlation stays",
        built=one_step_ratios.TOY_REGRESSION,
    ),
    Claim(
        "G-4",
        PAPER,
        "Section 3.1, Figure 4",
        "GSNR rises early on true labels and stays low on random ones.",
        "agreement of signs rises from 50 to 56 % on true labels",
        built=Built(
            ("real", "labels"),
            signal_to_noise.true_and_random,
            differs=("variant",),
            optional=("images", "resnet-real", "resnet-labels", "resnet-images"),
            needs=Needs(measured_on="train", gsnr=True),
            own_needs={
                f"{network}{role}": Needs(measured_on="train", gsnr=True, noise_labels=noise)
                for network in signal_to_noise.NETWORKS
                for role, noise in (("real", 0.0), ("labels", 1.0))
            },
        ),
    ),
    Claim(
        "G-5",
        PAPER,
        "Section 3.2, Figure 5, Table 1",
        "GSNR rises because features are learned: with the first layer frozen it falls.",
        "unfrozen rises; frozen falls first and stays low",
        built=learning.G_5,
    ),
    Claim(
        "G-6",
        PAPER,
        "Section 3.3, Figure 6",
        "A weight's change of mean gradient opposes the weight, early and most for the largest.",
        "share of weights against their gradient over 50 %, about 80 % for the top 10 %",
        built=learning.G_6,
    ),
    Claim(
        "G-7",
        PAPER,
        "Section 3.1",
        "For shallow models GSNR falls during the whole of training.",
        "falls throughout",
        built=learning.G_7,
    ),
)
