"""The tables robbench writes: their columns and types.

runs (one row per finished run), samples (one per attacked sample, the raw truth), points (the worst
inputs), epochs (one row each), measures and sample_measures (what was measured on a run), checks
(one row each), certificates (one row per sample), tasks (one row per task of a sweep). Every file
has the full schema; a column may be added later if it is nullable, none is ever renamed or retyped
without a new SCHEMA_VERSION. Open-ended maps are JSON text.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import pyarrow as pa

from robbench.core.norms import NORMS
from robbench.store.schema_text import table_schema

SCHEMA_VERSION = 3
_schema = functools.partial(table_schema, version=SCHEMA_VERSION)

DISTANCES = tuple(f"dist_{norm}" for norm in NORMS)
"""The columns of the samples table with the size of a perturbation."""

RUNS = _schema(
    "runs",
    """
    int16: schema_version
    text: run_id status
    time: started_at finished_at
    text: model model_arch model_hash loss?
    int64: train_seed?
    text: data split data_hash subset?
    text: norm
    f64: eps
    text: threat attack attack_params
    int64: seed
    int64: n_samples n_clean_correct n_adversarial n_robust n_unconfirmed n_error
    f64: clean_accuracy robust_accuracy? adversarial_ratio attack_success_rate?
    f64: robust_accuracy_low? robust_accuracy_high? clean_accuracy_low clean_accuracy_high ci_level
    text: ci_method
    f64: clean_margin_mean clean_margin_p50 adv_margin_mean? adv_margin_p05? adv_margin_p50?
    f64: clean_pmargin_mean adv_pmargin_mean?
    int64: n_forward n_backward
    f64: wall_s
    int64: batch_size
    text: git_sha?
    bool: git_dirty?
    text: robbench_version python_version torch_version device device_name
    bool: deterministic
    text: config provenance
    int64: n_unfinished? n_disagreements?
    f64: robust_accuracy_floor? distance_p50?
    text: precision? flags? train_config? answers?
    int32: row_step?
    f64: max_time_s?
    int64: max_queries?
    text: model_source? tags? classes? model_outputs?
    f64: clean_rejection_rate? adv_rejection_rate?
    text: target? audit_attack?
    int64: n_audited? n_audit_broken?
    f64: audit_missed_high? robust_accuracy_audited?
    int64: n_survivors?
    """,
)
"""One row per finished run. model_source: what was attacked, where --name gave it another name;
threat is text such as linf:8/255, attack the specs or cascade asked for joined by ` + `;
attack_params (every attack in full), config, train_config (of the training, None where another
trained the model), provenance, flags, tags (a list of texts) and classes (their names, null where
these are numbers) are JSON; model_outputs: how the outputs of the model were read, where that was
said (`outputs 3,8 of 10, outside=wrong`); rates are in [0,1]; n_forward and n_backward are totals;
wall_s is in seconds, of the whole run also where it had several budgets. robust_accuracy_floor:
robust accuracy if all unfinished samples fell; without a budget there is no robust accuracy; worst
margins are null where an attack has not shown what it tried. distance_p50: median size of the
smallest perturbation found, of a run without a budget; answers: JSON, what the model said to a few
inputs before the attack (`store/answers.py`); n_disagreements: claims of a fast search that the
model refused, and successes it saw only afterwards; row_step: models were asked multiples of so
many rows, the smallest measured to give equal answers, or other numbers once measured to give them
too; deterministic: whether verdicts depend on no batch size; max_time_s and max_queries: limits of
the run in seconds, of a sample in forwards, re-checks not counted. target: a class, least-likely,
random or column:NAME, null where any mistake is a success; under a target adversarial is a sample
that reached it, robust one that did not, and samples of the target class are left out of the run.
audit_attack: the attacks that the audit made on n_audited of the n_survivors samples that withstood
the run's own attacks, drawn at random; it broke n_audit_broken, which count as adversarial.
audit_missed_high: upper end of the one-sided 95 % interval of the share of all that withstood which
the audit would break; robust_accuracy_audited: the robust accuracy that is left then, if all
unfinished samples fell too. All are null of a run without an audit; the last two also where no
sample withstood."""

SAMPLES = _schema(
    "samples",
    """
    text: run_id
    int64: sample_id
    int32: sample_index
    int32: label clean_pred
    f32: clean_margin clean_pmargin
    int32: adv_pred
    f32: adv_margin? adv_pmargin?
    bool: clean_correct adversarial robust
    f32: dist_linf? dist_l2?
    word: broken_by?
    int32: broken_variant?
    int32: first_success_step?
    int32: n_forward n_backward
    int8: status
    f32: dist_l1? dist_l0?
    int32: n_nonfinite? n_zero_gradient?
    bool: clean_rejected? adv_rejected?
    int32: target?
    bool: audited?
    f32: dist_l0px?
    """,
)
"""One row per sample. margin is z_y - max_{k != y} z_k on logits and pmargin the same on softmax
probabilities; adv_* is the lowest found inside the budget, of a run without a budget at the
smallest perturbation, null where an attack has not shown what it tried; dist_* is the size of
that perturbation; status is OK, NON_FINITE, UNCONFIRMED or UNFINISHED; n_nonfinite and
n_zero_gradient count answers that were no numbers and gradients that were exactly zero.
clean_rejected and adv_rejected, null for a model that never rejects: it rejected the clean input;
no attack broke the sample, and the model rejected a point that was tried. target: the class to
reach, null where any mistake is a success; then both margins are max_{k != t} z_k - z_t, negative
where the target is predicted, and a sample may be robust though it is misclassified. audited: the
sample was drawn for the audit, null of a run without one."""

POINTS = _schema(
    "points",
    """
    text: run_id
    int64: sample_id
    bool: adversarial
    word: encoding
    bytes: delta
    """,
)
"""One row per sample whose worst point is not its clean input. delta is worst - clean pixels in
C order, little-endian, as float16 (`f2`) where the point reads back as adversarial as it was,
else float32 (`f4`)."""

EPOCHS = _schema(
    "epochs",
    """
    int16: schema_version
    text: model
    int32: epoch
    f64: learning_rate train_loss
    f64: clean_accuracy? robust_accuracy? clean_margin? adv_margin?
    int32: predicted_classes?
    f64: seconds
    int64: n_forward n_backward
    bool: selected
    text: logs?
    """,
)
"""One row per epoch. Accuracies, margins and how many classes are predicted are those of the
validation samples, null in an epoch that was not validated; logs is JSON, the means of what the
loss noted."""

MEASURES = _schema(
    "measures",
    """
    text: run_id name points split
    int32: class?
    f64: value?
    text: detail?
    """,
)
"""One row per measure of a run. points is clean or worst, split train or test, class null for
all classes, value null where there is none (detail then says why); detail is JSON: curves,
histograms, pairs of classes and what else the value rests on."""

SAMPLE_MEASURES = _schema(
    "sample_measures",
    """
    text: run_id
    int64: sample_id
    int32: sample_index
    int32: label
    f32: clean_feature_margin? worst_feature_margin?
    f32: clean_margin_gradient_l1? clean_margin_gradient_l2? clean_margin_gradient_linf?
    f32: worst_margin_gradient_l1? worst_margin_gradient_l2? worst_margin_gradient_linf?
    f32: clean_cross_entropy_gradient_l1? clean_cross_entropy_gradient_l2?
    f32: clean_cross_entropy_gradient_linf?
    f32: worst_cross_entropy_gradient_l1? worst_cross_entropy_gradient_l2?
    f32: worst_cross_entropy_gradient_linf?
    bool: clean_flip?
    f32: worst_local_linearity?
    int32: clean_n_features_90? worst_n_features_90?
    int32: clean_n_features_90_predicted? worst_n_features_90_predicted?
    f32: clean_confidence worst_confidence? clean_logit_norm worst_logit_norm?
    f32: input_margin_linf? input_margin_l2? input_margin_l1? input_margin_l0?
    bool: censored_linf? censored_l2? censored_l1? censored_l0?
    f32: input_margin_l0px?
    bool: censored_l0px?
    """,
)
"""One row per sample of a run, at its clean input and at the worst point found. Distance of the
features to the nearest boundary of the last layer; norms of the input gradients of logit margin
and cross-entropy; whether the budget is enough for a mistake to first order; |l(x') - l(x) -
<x'-x, grad l(x)>| of the cross-entropy; how few features carry 90 % of the true and of the
predicted logit; the largest probability; the length of the centred logits. input_margin_*: the
smallest adversarial perturbation found by any run of the same weights, or where censored the
largest eps that was attacked in vain; null in a norm that the sample was not attacked in."""

CHECKS = _schema(
    "checks",
    """
    int16: schema_version
    text: subject run_id?
    time: checked_at
    text: model model_hash data split threat
    text: check family severity verdict
    f64: figure? threshold?
    text: text source
    ids: evidence
    int64: n_samples n_forward n_backward
    bool: automatic
    """,
)
"""One row per check of a run or a model. subject is the run id, or a hash of the
model; verdict is pass, fail, unclear or skipped; a figure is compared with its threshold, both
null where there is none; evidence holds the ids of the samples that speak against the attack;
n_samples is the slice looked at, n_forward and n_backward what the check cost, padding included
(what an earlier check has asked already costs nothing); automatic: after an attack, without the
costly checks."""

CERTIFICATES = _schema(
    "certificates",
    """
    int16: schema_version
    text: certificates_id
    time: certified_at
    word: model model_hash data split norm
    f64: eps
    word: threat method
    bool: smoothed
    int64: seed sample_id
    int32: label predicted?
    bool: certified
    f64: margin_low? radius? seconds
    int64: n_forward
    """,
)
"""One row per sample, threat model and method. certificates_id is a hash of weights, threat and
method; method is a spec in full; smoothed: what is certified is the smoothed classifier, not the
model, and predicted is its class, null where it abstains; certified: no input of the threat model
has another prediction than the label; margin_low is a lower bound of the smallest logit margin,
null of misclassified samples, without a budget and where the method has none; radius: up to which
size of perturbation the prediction is certified, null with a budget unless the method has one; 0 of
misclassified samples where it is sought by bisection."""

TASKS = _schema(
    "tasks",
    """
    int16: schema_version
    text: sweep task kind title model status
    text: settings
    text: error? log?
    int32: tries
    f64: seconds?
    text: worker?
    time: started_at?
    text: run_ids
    """,
)
"""One row per task of a sweep. kind is train, attack, measure, check or certify; status is done,
failed, lost, skipped or waiting; settings are those of the task, run_ids (a list) the runs it made
or found, both JSON; log is the path of the file with what it printed, below the table's folder."""


def missing_columns(schema: pa.Schema, names: Iterable[str]) -> list[str]:
    """The columns that a file of this table must have and that are not among `names`."""
    present = set(names)
    return [field.name for field in schema if not field.nullable and field.name not in present]
