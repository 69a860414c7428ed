"""The claims of CG: Chatterjee & Zielinski 2022, On the generalization mystery, arXiv 2203.10036."""

from pipeline.claims import coherent_gradients as read
from pipeline.claims import easy_and_hard, evolution, micro_batches, noisy_labels, winsorizing
from pipeline.claims import toy_examples as toys
from pipeline.claims.claim import Built, Claim, Needs

PAPER = "CG"
AGGREGATIONS = ("aggregation", "micro_batches")
MEASURED, VARIED = Needs(measured_on="train"), Needs("varied")

COHERENT_GRADIENTS = (
    Claim(
        "CG-1",
        PAPER,
        "Section 6, Figure 1",
        "Per-example gradients are far more coherent on real images than when every image is noise.",
        "real: M peaks near 40, is about 20 while the loss falls, 1 at the end; noise: below 5",
        built=Built(("real", "noise"), read.real_over_noise, differs=("variant",), needs=MEASURED),
    ),
    Claim(
        "CG-2",
        PAPER,
        "Section 6, Figures 2 and 3",
        "Noise is told from real images by the first layer, where its gradients are orthogonal.",
        "first layer: M about 1 on noise only; dense layers alike; whole-net peak over 2 x that of noise",
        built=Built(("real", "noise"), read.first_layer, differs=("variant",), needs=MEASURED),
    ),
    Claim(
        "CG-3",
        PAPER,
        "Section 7, Figure 4",
        "Winsorising per-example gradients reduces overfitting, and memorising most of all.",
        "overfit falls with c; at c = 8 train accuracy stays below the pristine share",
        built=Built(
            ("labels0", "labels50", "labels100"),
            winsorizing.suppression,
            differs=("variant",),
            optional=("labels25", "labels75", "pixels"),
            needs=VARIED,
            own_needs={
                f"labels{percent}": Needs("varied", noise_labels=percent / 100)
                for percent in (0, 25, 50, 75, 100)
            },
        ),
    ),
    Claim(
        "CG-4",
        PAPER,
        "Section 7, Figures 5 and 6",
        "The median of three micro-batches (M3) suppresses memorising where their mean (A3) memorises.",
        "gap M3 / A3: 43.34 / 47.15 on real images, 25.90 / 77.13 with half of them noise",
        parts=("CG-4-real", "CG-4-images50", "CG-4-images100", "CG-4-labels50"),
    ),
    Claim(
        "CG-4-real",
        PAPER,
        "Section 7, Figure 5",
        "On real images M3 learns almost as well as A3, with no larger a generalisation gap.",
        "gap 43.34 % (M3) against 47.15 % (A3), M3 only slightly slower",
        built=Built(("mean", "median"), read.gap_on_real, differs=AGGREGATIONS),
    ),
    Claim(
        "CG-4-images50",
        PAPER,
        "Section 7, Figures 5 and 6",
        "With half of the images noise, A3 learns the corrupt examples and M3 does not.",
        "gap 25.90 % (M3) against 77.13 % (A3); M3 learns the pristine half only",
        built=Built(("mean", "median"), read.corrupt_half, differs=AGGREGATIONS),
    ),
    Claim(
        "CG-4-images100",
        PAPER,
        "Section 7, Figure 5",
        "With every image noise, A3 memorises the training set and M3 learns next to nothing.",
        "M3 learns nothing, A3 reaches a train accuracy of 100 %",
        built=Built(("mean", "median"), read.nothing_but_noise, differs=AGGREGATIONS),
    ),
    Claim(
        "CG-4-labels50",
        PAPER,
        "Section 7, as Figure 5 with labels",
        "With half of the labels drawn anew, M3 does better than A3 on clean test labels.",
        "no number in the paper: the argument of section 7 carried over to label noise",
        built=Built(("mean", "median"), read.clean_test_gain, differs=AGGREGATIONS),
    ),
    Claim(
        "CG-5",
        PAPER,
        "Section 8, Figure 7",
        "Examples that are learned early are more coherent than those learned late, and generalise better.",
        "M(easy) > M(hard); test accuracy on easy examples 71 % from easy ones, 17 % from hard ones",
        built=Built(
            ("easy", "hard", "random"),
            easy_and_hard.transfer_and_coherence,
            differs=("variant",),
            optional=("all",),
            own_needs={
                "easy": Needs(view="easy"),
                "hard": Needs(view="hard"),
                "random": Needs(view="random", measured_on="test", subsets=("easy", "hard")),
                "all": Needs(view="all", measured_on="train", subsets=("easy", "hard")),
            },
        ),
    ),
    Claim(
        "CG-6",
        PAPER,
        "Section 8, Appendix G",
        "One at a time, easy and hard examples take equally many steps to fit.",
        "no statistically significant difference",
        built=Built(("split",), easy_and_hard.steps_to_fit, needs=Needs("split")),
    ),
    Claim(
        "CG-7",
        PAPER,
        "Section 9, Figure 9",
        "Under label noise pristine examples are more coherent than corrupt ones, and learned first.",
        "M(pristine) > M(corrupt); test accuracy peaks before the corrupt half is learned",
        built=Built(
            ("run",),
            noisy_labels.pristine_first,
            needs=Needs(measured_on="train", subsets=("pristine", "corrupt")),
        ),
    ),
    Claim(
        "CG-8",
        PAPER,
        "Section 6, Evolution of Coherence",
        "Over training M starts low, rises to a peak and falls back, on real data and on noise alike.",
        "a broad parabola, after the first steps",
        built=Built((), evolution.falls_from_its_peak, free_roles=True, needs=MEASURED),
    ),
    Claim(
        "CG-9",
        PAPER,
        "Section 7, Figure 27",
        "The larger the micro-batch, the less effective the median.",
        "M3 approaches A3 as the micro-batch grows; some learning rates are unstable",
        built=Built(("sizes",), micro_batches.larger_is_weaker, optional=("rates",), needs=VARIED),
    ),
    Claim(
        "CG-E1",
        PAPER,
        "Example 1",
        "A linear model under gradient descent weighs the common feature most; exact numbers.",
        "random data are memorised, real ones generalise (worked out: test loss .5 and .02; M = 1 and 2.5)",
        built=toys.built("CG-E1"),
    ),
    Claim(
        "CG-E4",
        PAPER,
        "Example 4",
        "The coherence of Example 1's two data sets, exactly.",
        "real: alpha 5/8, M = 2.5; random: M = 1, the orthogonal limit",
        built=toys.built("CG-E4"),
    ),
    Claim(
        "CG-E5",
        PAPER,
        "Example 5",
        "The component-wise median closes Example 1's generalisation gap.",
        "real: train loss = test loss = 0; random: the weights stay 0",
        built=toys.built("CG-E5"),
    ),
    Claim(
        "CG-E6",
        PAPER,
        "Example 6",
        "M3 with micro-batches of one does the same.",
        "weak directions suppressed completely on both data sets",
        built=toys.built("CG-E6"),
    ),
    Claim(
        "CG-E7",
        PAPER,
        "Example 7",
        "Depth amplifies the common feature: w6 outgrows w1 by feedback.",
        "M starts at 2.5 and rises to nearly 4; negligible gap (worked out: 3.997 after 80 steps, 4.78e-7)",
        built=toys.built("CG-E7"),
    ),
    Claim(
        "CG-E8",
        PAPER,
        "Example 8",
        "Of a bad and a good neuron, the good one wins from small initial weights only.",
        "w2 overtakes w1 from w1(0) = .1 and .2 (worked out: at steps 27 and 43), not from a large one",
        built=toys.built("CG-E8"),
    ),
)
