"""Every check on one page: name, severity, function, source, and queries per sample at most.

Sources: the checklist of Carlini et al. 2019 (arXiv:1902.06705), the checks of AutoAttack (Croce
and Hein 2020, arXiv:2003.01690), the signs of obfuscated gradients of Athalye et al. 2018
(arXiv:1802.00420), the indicators of failure of Pintor et al. 2022 (arXiv:2106.09947), the
saturation of Carlini and Wagner 2016 (arXiv:1607.04311), the stationary condition of Wang et al.
2019 (arXiv:2112.08304), margin consistency (Ngnawé et al. 2024,
arXiv:2406.18451).
"""

from __future__ import annotations

from robbench.checks import (
    adversarial_points,
    budget,
    gradients,
    margins,
    outputs,
    run_rows,
    stronger_attacks,
    trajectory,
)
from robbench.checks.base import Check

CHECKS: tuple[Check, ...] = (
    # what rows and points say
    Check(
        "reproduced",
        "error",
        run_rows.reproduced,
        "Carlini et al. 2019: report what can be repeated",
        1,
    ),
    Check(
        "unfinished",
        "warning",
        run_rows.unfinished,
        "Carlini et al. 2019: report the attack as it ran",
    ),
    Check(
        "unconfirmed",
        "warning",
        run_rows.unconfirmed,
        "Carlini et al. 2019: verify adversarial examples",
    ),
    Check("odd-answers", "warning", run_rows.odd_answers, "Croce and Hein 2020: zero gradient"),
    Check(
        "black-box-only", "error", run_rows.black_box_only, "Croce and Hein 2020: Square improves"
    ),
    Check("audit", "error", run_rows.audit, "Carlini et al. 2019: try a stronger attack"),
    Check("few-classes", "info", run_rows.few_classes, "Croce and Hein 2020: number of classes"),
    Check(
        "black-box-tried",
        "info",
        run_rows.diverse,
        "Carlini et al. 2019: gradient-free and hard-label attacks",
    ),
    Check(
        "late-successes",
        "warning",
        run_rows.late_successes,
        "Pintor et al. 2022: incomplete optimization",
    ),
    Check(
        "margin-consistency",
        "warning",
        margins.margin_consistency,
        "Ngnawé et al. 2024: margin consistency",
    ),
    Check("last-restart", "warning", run_rows.last_restart, "Carlini et al. 2019: restarts"),
    Check(
        "constraints",
        "error",
        adversarial_points.constraints,
        "Carlini et al. 2019: perturbations stay inside the threat model",
        2,
    ),
    Check(
        "quantised", "info", adversarial_points.quantised, "Carlini, Wagner 2017: 8-bit images", 2
    ),
    # the model's answers
    Check("random", "error", outputs.random, "Croce and Hein 2020: randomized defense", 2),
    Check(
        "batch-width", "error", outputs.batch_width, "Carlini et al. 2019: the model as deployed", 2
    ),
    Check("probabilities", "error", outputs.logits, "Croce and Hein 2020: logits", 1),
    Check("dynamic", "warning", outputs.dynamic, "Croce and Hein 2020: dynamic defense", 2),
    # its gradients
    Check(
        "no-gradient", "error", gradients.no_gradient, "Athalye et al. 2018: shattered gradients", 4
    ),
    Check(
        "non-finite-gradient",
        "error",
        gradients.non_finite,
        "Athalye et al. 2018: numerical instability",
        4,
    ),
    Check("zero-gradient", "error", gradients.zero, "Croce and Hein 2020: zero gradient", 4),
    Check(
        "vanishing", "warning", gradients.vanishing, "Athalye et al. 2018: vanishing gradients", 4
    ),
    Check("finite-difference", "error", gradients.slope, "Pintor et al. 2022: noisy gradients", 7),
    # the budget
    Check("zero-eps", "error", budget.zero_eps, "Carlini et al. 2019: no budget, no change", 10),
    Check(
        "huge-eps",
        "error",
        budget.huge_eps,
        "Athalye et al. 2018: unbounded attacks reach 100 %",
        45,
    ),
    Check(
        "monotone-eps",
        "warning",
        budget.monotone_eps,
        "Carlini et al. 2019: success grows with the budget",
        135,
    ),
    # the steps of an attack
    Check("unmoved", "error", run_rows.unmoved, "Pintor et al. 2022: unavailable gradients"),
    Check("progress", "warning", trajectory.progress, "Pintor et al. 2022: loss fluctuates", 42),
    Check(
        "incomplete",
        "warning",
        trajectory.incomplete,
        "Pintor et al. 2022: incomplete optimization",
        42,
    ),
    Check(
        "stationary",
        "error",
        trajectory.stationary,
        "Wang et al. 2019: first-order stationary condition",
        45,
    ),
    Check(
        "silent-success",
        "error",
        trajectory.silent_success,
        "Pintor et al. 2022: silent success",
        90,
    ),
    # challengers
    Check(
        "single-step",
        "warning",
        stronger_attacks.single_step,
        "Athalye et al. 2018: one step beats many",
        6,
    ),
    Check(
        "random-noise",
        "error",
        stronger_attacks.noise,
        "Athalye et al. 2018: random search finds more",
        105,
    ),
    Check(
        "step-size",
        "warning",
        stronger_attacks.step_size,
        "Carlini et al. 2019: hyper-parameters",
        90,
    ),
    Check(
        "steps-doubled",
        "warning",
        stronger_attacks.steps_doubled,
        "Carlini et al. 2019: convergence",
        1000,
    ),
    Check("restarts", "warning", stronger_attacks.restarts, "Carlini et al. 2019: restarts", 180),
    Check(
        "loss-gap", "warning", stronger_attacks.loss_gap, "Carlini et al. 2019: several losses", 90
    ),
    Check(
        "logit-scale", "error", stronger_attacks.logit_scale, "Carlini, Wagner 2016: saturation", 90
    ),
    Check(
        "black-box",
        "error",
        stronger_attacks.black_box,
        "Athalye et al. 2018: black-box beats white-box",
        205,
    ),
    Check(
        "labels-only",
        "error",
        stronger_attacks.labels_only,
        "Carlini et al. 2019: gradient-free and hard-label attacks",
        205,
    ),
    Check("transfer", "error", stronger_attacks.transfer, "Carlini et al. 2019: transfer", 25),
)
