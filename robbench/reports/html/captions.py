"""Captions by section id: what a section shows (WHAT), and how to get it (MISSING)."""

from __future__ import annotations

WHAT = {
    "comparison": "Press a column's title to sort by it, within each threat model.",
    "curves": (
        "Share of samples that no attack broke, over the size of the budget; at 0 it is clean "
        "accuracy. A curve is an upper bound: a stronger attack can only lower it."
    ),
    "logit-margins": (
        "Logit of the true class minus the largest other, clean and at the worst point found; "
        "right of the dotted zero is correct. An attack stops at its first success, so a negative "
        "worst margin says that the sample fell, not how deep. Two peaks in the worst margins tell "
        "a loss that gives up some samples to keep others far from zero. Logit scales differ "
        "between models, so each panel has an axis of its own: compare shapes, not distances. The "
        "outermost bins hold what lies beyond."
    ),
    "input-margins": (
        "Size of the smallest adversarial perturbation found for each sample by all runs of this "
        "report, an upper bound of its distance to the boundary; samples that are wrong without "
        "one count as 0. Samples for which none was found are counted in the panel's title: their "
        "margin lies beyond what was attacked. Those on which time or queries ran out are counted "
        "apart."
    ),
    "classes": "Robust accuracy of each class in percent.",
    "spectrum": (
        "In how many directions the penultimate features vary, on clean samples: a steep fall "
        "means that few directions carry "
        "everything (low rank)."
    ),
    "training": (
        "Of the models in the output folder. Losses of different names do not compare. Robust "
        "validation accuracy is always under pgd:steps=10 within the threat model of training, "
        "whatever the inner attack: compare it between epochs, not with the results above."
    ),
    "over-time": (
        "Runs of one model's name on the same samples, under the same threat model and attack, "
        "oldest first, with 95 % intervals. A dotted line is a change point: the probability of "
        "any in a figure is about 5 % at most where nothing changed."
    ),
    "gallery": (
        "Of each model the samples that fell to the smallest perturbations, among those it "
        "classifies correctly. What was added is white for nothing, red for brighter and blue for "
        "darker; full colour is the largest change, whose size is below each picture. Of colour "
        "images each pixel shows its channel that changed most."
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
        "l2:inf{place} looks for the smallest."
    ),
    "curves": (
        "Only accuracy under corruptions is here: robbench attack MODEL --threat "
        "linf:2/255,4/255,8/255{place} gives a curve."
    ),
    "logit-margins": (
        "Only accuracy under corruptions is here: robbench attack MODEL{place} gives margins "
        "under an attack."
    ),
    "classes": (
        "No run under an attack with a budget is here: robbench attack MODEL --threat "
        "linf:8/255{place} gives robust accuracy by class."
    ),
    "spectrum": "Nothing was measured: {command}",
    "training": "No model of these runs was trained by robbench train in this output folder.",
    "over-time": (
        "No model here has been attacked after three trainings: robbench attack MODEL{place} "
        "after each of them adds a run."
    ),
    "gallery": "No run here kept its points: robbench attack MODEL --store-points{place}",
    "cost": (
        "A corruption takes two forwards per sample. Attacks cost more: robbench attack "
        "MODEL{place}"
    ),
    "checks": "Nothing was checked: {command}",
}
FOLDER = "Commands on this page look into the folder runs: for another one add --out DIR."
ONE_BUDGET = "Only one budget was attacked: robbench attack MODEL --threat {budgets} gives a curve."
ANY_SIZE = (
    "Attacks inside a budget take the first success anywhere in it, so these sizes gather at the "
    "budgets; "
    "robbench attack MODEL --attack fmn --threat l2:inf looks for the smallest."
)
NO_ATTACK_COMMAND = (
    "No command gives {runs}: the model, the data or an attack was given in a program, or a gate "
    "has attacked samples until it had decided."
)
NO_COMMAND = (
    "How {models} was trained is not recorded as a command; config.json beside its "
    "weights has the settings."
)
CERTIFIED = (
    "Certified: share of samples with a proof that no perturbation inside the threat model changes "
    "the prediction. The true robust accuracy lies between it and the robust accuracy, which only "
    "says that no attack has broken the others yet."
)
RADIUS = (
    "Certified radius: the largest size up to which it is proven that no perturbation changes the "
    "prediction, 0 for a misclassified sample. The true distance of a sample lies between it and "
    "the smallest perturbation found."
)
WILSON = "Bands are the 95 % Wilson interval of each point by itself."
SPREAD = "Lines are means over training seeds, bands one standard deviation to each side."
ONE_SEED = "Of each recipe the first seed: {models}."
DIGESTS = "SHA-256 of the tables this page was made from"
VERIFY_TABLES = (
    "To verify the tables, put these lines into digests.txt in the output folder and run: "
    "sha256sum --check digests.txt. Whether the tables tell the truth about the model is what "
    "robbench check finds out, which attacks it again."
)
VERIFY_CODE = (
    "A module of your own is named with the hash of its source and of all private modules it "
    "imports; a copy is in models/NAME/code of the output folder. Repeat the training command, and "
    "robbench says which part's code is another."
)
