"""Captions by section id: what a section shows (WHAT), and how to get it (MISSING)."""

from __future__ import annotations

WHAT = {
    "comparison": "One row per run. Press a column's title to sort by it.",
    "curves": (
        "Share of samples that no attack broke, over the size of the budget; at 0 it is clean "
        "accuracy. Bands are the 95 % "
        "Wilson interval of each point by itself. A curve is an upper bound: a stronger attack "
        "can only lower it."
    ),
    "logit-margins": (
        "z_y - max other z of each sample, clean above, at the worst point found below; right of "
        "zero is correct. An attack "
        "stops at its first success, so a negative worst margin says that the sample fell, not "
        "how deep. Two peaks in the "
        "worst margins tell a loss that gives up some samples to keep others far from zero. Logit "
        "scales differ between "
        "models, so each has bins of its own width: compare shapes, not distances. The outermost "
        "bins hold what lies beyond."
    ),
    "input-margins": (
        "Size of the smallest adversarial perturbation found for each sample by all runs of this "
        "report, an upper bound of "
        "its distance to the boundary; samples that are wrong without one count as 0. An open "
        "triangle marks the share of "
        "samples for which none was found (censored: their margin lies beyond what was attacked); "
        "those on which time or "
        "queries ran out are counted apart."
    ),
    "classes": "Robust accuracy of each class in percent.",
    "spectrum": (
        "In how many directions the penultimate features vary, on clean samples: a steep fall "
        "means that few directions carry "
        "everything (low rank)."
    ),
    "training": (
        "Of the models as they lie in the output folder. Losses of different names do not "
        "compare. Robust validation accuracy "
        "is under the attack of training, far weaker than that of the comparison."
    ),
    "gallery": (
        "Of each model the samples that fell to the smallest perturbations, among those it "
        "classifies correctly. What was "
        "added is drawn around grey, made stronger by the factor below it."
    ),
    "cost": (
        "Queries do not depend on the machine; seconds do, and where a run decided several "
        "budgets together they are those of "
        "all."
    ),
    "checks": (
        "A robust accuracy can be high because the attack was weak. Each check looks for one sign "
        "of that; an error is a "
        "reason not to believe the number, a warning one to look closer."
    ),
    "provenance": "What produced these numbers.",
    "reproduce": (
        "As recorded with the models and runs, for the folders they were started in. On a CPU in "
        "float32 the verdicts of "
        "robbench's own attacks come out bit-equal; another processor rounds otherwise, which "
        "moves a few samples."
    ),
}
MISSING = {
    "input-margins": (
        "No perturbation was found: robbench attack MODEL --attack fmn --threat "
        "l2:inf looks for the smallest."
    ),
    "classes": (
        "Only runs without a budget are here: robbench attack MODEL --threat linf:8/255 "
        "gives robust accuracy by class."
    ),
    "spectrum": "Nothing was measured: robbench measure {runs}",
    "training": "No model of these runs was trained by robbench train in this output folder.",
    "gallery": "No run here kept its points: robbench attack MODEL --store-points",
    "checks": "Nothing was checked: robbench check {runs}",
}
ONE_BUDGET = (
    "Only one budget was attacked: robbench attack MODEL --threat linf:2/255,4/255,8/255 "
    "gives a curve."
)
MORE_LINES = "Not all lines are shown at first: press a name above the figure to show or hide it."
ANY_SIZE = (
    "Attacks inside a budget take the first success anywhere in it, so these sizes gather at the "
    "budgets; "
    "robbench attack MODEL --attack fmn --threat l2:inf looks for the smallest."
)
NO_COMMAND = (
    "How {models} was trained is not recorded as a command; config.json beside its "
    "weights has the settings."
)
