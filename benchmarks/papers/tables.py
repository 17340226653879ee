"""What the page `papers` shows of each sweep: a column per figure, and the claims to judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from claims import UNREAD, Claim


class Column(NamedTuple):
    """A figure of each loss: a metric of the rows with some values, times a scale."""

    head: str
    metric: str
    where: Mapping[str, str] = {}
    scale: float = 100.0
    digits: int = 1


class Sheet(NamedTuple):
    """A table of a sweep: `where` chooses its rows, `checks` shows the checks that failed."""

    title: str
    columns: tuple[Column, ...]
    where: Mapping[str, str] = {}
    checks: bool = False


CLEAN = Column("clean", "clean_accuracy")
PGD20 = Column("PGD-20", "robust_accuracy_first")
VERDICT = Column("AutoAttack", "robust_accuracy")
AUDITED = Column("at least", "robust_accuracy_audited")
_ATTACKED = (CLEAN, PGD20, VERDICT, AUDITED)


def _measure(head: str, name: str, scale: float = 1.0, digits: int = 2) -> Column:
    return Column(head, f"measures {name}", {}, scale, digits)


def _log(head: str, name: str, digits: int = 2) -> Column:
    return Column(head, f"logs {name}", {}, 1.0, digits)


_MARGINS = (
    _measure("worst margin, median", "logit_margin_median worst test"),
    _measure("near zero %", "logit_margin_near_zero worst test", 100, 1),
    _measure("gradient", "margin_gradient_l1 worst test", digits=1),
    _measure("flips %", "flip_share clean test", 100, 1),
)
_PEAKS = _measure("peaks", "logit_margin_peaks worst test", digits=1)
PLAIN = "foolbox:attack=LinfPGD,options=(steps=50)"
_ISCE = {
    "plain PGD-50": PLAIN,
    "PGD-50": "pgd:steps=50",
    "on I-SCE": "pgd:steps=50,objective=soft-margin",
    "on margin": "pgd:steps=50,objective=margin",
    "Square": "square:steps=500",
    "AutoAttack": "autoattack-lite",
}


def _i_sce(eps: str, heads: Iterable[str], *more: Column) -> Sheet:
    """A budget: robust accuracy under each attack of _ISCE alone; the first has clean accuracy."""
    attacks = [Column(head, "robust_accuracy", {"attack": _ISCE[head]}) for head in heads]
    clean = [CLEAN] if eps == "0.1" else []
    return Sheet(f"linf:{eps}", (*clean, *attacks, *more), {"threat": f"linf:{eps}"})


_BUDGETS = ("0.5", "1", "2", "4", "8")
_PAIRS = ("airplane,horse", "cat,dog", "automobile,truck")

SHEETS: dict[str, tuple[Sheet, ...]] = {
    "differential": tuple(
        Sheet(
            f"{pair}, {split}",
            (
                CLEAN,
                *(
                    Column(f"{eps}/255", "adversarial_ratio", {"threat": f"linf:{eps}/255"})
                    for eps in _BUDGETS
                ),
                _measure("rank", "numerical_rank clean train", digits=0),
                _measure("effective rank", "effective_rank clean train", digits=1),
                _measure("in 1 %", "variance_in_1 clean train", 100, 0),
                _measure("in 10 %", "variance_in_10 clean train", 100, 0),
            ),
            {"data": f"cifar10[{pair}]", "split": split},
        )
        for pair in _PAIRS
        for split in ("train", "test")
    ),
    "sovr": (Sheet("", (*_ATTACKED, *_MARGINS, _PEAKS)),),
    "sovr-grid": (Sheet("", (CLEAN, PGD20, VERDICT, *_MARGINS)),),
    "i-sce": tuple(
        _i_sce(eps, _ISCE, Column("no gradient %", "no_gradient", {"attack": _ISCE["PGD-50"]}))
        for eps in ("0.1", "0.2", "0.3")
    ),
    "i-sce-resnet": tuple(
        _i_sce(eps, ("plain PGD-50", "on margin", "AutoAttack")) for eps in ("0.1", "0.2")
    ),
    "i-sce-adversarial": (Sheet("", (*_ATTACKED, *_MARGINS)),),
    "aalp": (
        Sheet(
            "",
            (
                *_ATTACKED,
                _measure("features", "n_features_90 clean test", digits=1),
                _measure("hardest tenth", "cross_entropy_hardest_tenth clean test"),
                _log("leak", "leak"),
                _log("unmasked", "leak_unmasked"),
                _log("CE(x') masked", "ce_masked"),
                _log("not masked", "ce_unmasked"),
                _log("conflict", "conflict", 3),
            ),
        ),
    ),
    **{
        sweep: (
            Sheet(
                "",
                (
                    *_ATTACKED,
                    *_MARGINS[:2],
                    Column("queries", "queries", {}, 1.0, 0),
                    Column("passes", "train_passes", {}, 1.0, 1),
                ),
                checks=True,
            ),
        )
        for sweep in (
            "losses-mnist",
            "losses-mnist-ema",
            "losses-mnist-teacher",
            "losses-mnist-dyart",
            "losses-cifar10",
            "losses-cifar10-gpu",
        )
    },
    "losses-mnist-clean": tuple(
        Sheet(
            f"linf:{eps}",
            (*_ATTACKED, _measure("worst margin, median", "logit_margin_median worst test")),
            {"threat": f"linf:{eps}"},
            checks=True,
        )
        for eps in ("0.1", "0.3")
    ),
}

_WEIGHTED = ("mart", "gairat", "mail-at", "ewat", "ewat:base=0", "mma")
# AutoAttack's verdict on PreActResNet-18, CIFAR-10, 8/255, as arXiv:2508.02186 quotes it.
_QUOTED = {"sovr": 49.4, "gairat": 37.7, "mail-at": 39.6, "ewat": 48.2, "mma": 37.2}


def _quoted(loss: str) -> str:
    name = loss.partition(":")[0]
    if name not in _QUOTED:
        return UNREAD
    return f"{_QUOTED['sovr'] - _QUOTED[name]:+.1f} points, quoted by arXiv:2508.02186"


CLAIMS: dict[str, tuple[Claim, ...]] = {
    "linear": (
        Claim(
            text="linear: differential training has a larger margin than cross-entropy, at D = 1",
            loss="differential:form=logistic",
            than="cross-entropy",
            metric="over_svm",
            where={"common": 1.0},
            paper="differential training",
            published="a theorem",
        ),
    ),
    "differential": tuple(
        Claim(
            text=f"{form}: fewer adversarial examples than cross-entropy at 2/255, {pair}, {split}",
            loss=loss,
            than="cross-entropy",
            metric="adversarial_ratio",
            below=True,
            where={"threat": "linf:2/255", "data": f"cifar10[{pair}]", "split": split},
            paper="differential training" if (pair, split) == (_PAIRS[0], "test") else None,
        )
        for pair in _PAIRS
        for loss, form in (("differential", "square"), ("differential:form=logistic", "logistic"))
        for split in ("train", "test")
    ),
    "sovr": (
        *(
            Claim(
                text=f"SOVR is more robust than {loss} under AutoAttack",
                loss="sovr",
                than=loss,
                paper="SOVR",
                published=_quoted(loss),
            )
            for loss in ("cross-entropy", *_WEIGHTED)
        ),
        Claim(
            text="TSOVR is more robust than TRADES under AutoAttack", loss="tsovr", than="trades"
        ),
        *(
            Claim(
                text=f"{loss} is above adversarial training under PGD-20, and only there",
                loss=loss,
                than="cross-entropy",
                metric="robust_accuracy_first",
                stronger_metric="robust_accuracy",
                paper="SOVR",
                published="+5.9 points under PGD-20 (the authors' README, WRN-32-10)"
                if loss == "gairat"
                else UNREAD,
            )
            for loss in _WEIGHTED
        ),
        Claim(
            text="SOVR has fewer worst margins near zero than adversarial training",
            loss="sovr",
            than="cross-entropy",
            metric="measures logit_margin_near_zero worst test",
            below=True,
        ),
    ),
    "sovr-grid": tuple(
        Claim(
            text=f"{form} is more robust than {than} under AutoAttack at M = {m}, lambda = {lam}",
            loss=f"{form}:percent={m},lam={lam}",
            than=than,
        )
        for form, than, ms in (
            ("sovr", "cross-entropy", (20, 40, 60, 100)),
            ("tsovr", "trades", (20, 40, 60, 100)),
        )
        for m in ms
        for lam in (("0.4", "1") if form == "tsovr" else ("0.2", "0.4", "0.6", "1"))
    ),
    "i-sce": tuple(
        Claim(
            text=f"{loss} is more robust than cross-entropy under plain PGD-50 at {eps}",
            loss=loss,
            than="i-sce:s=0",
            where={"attack": PLAIN, "threat": f"linf:{eps}"},
            stronger={"attack": "autoattack-lite", "threat": f"linf:{eps}"},
            paper="I-SCE" if loss == "i-sce:s=100" else None,
            published="63 % higher under PGD-50 (abstract); budget unknown",
        )
        for eps in ("0.1", "0.2", "0.3")
        for loss in ("i-sce:s=1", "i-sce:s=20", "i-sce:s=100", "i-sce:s=200")
    )
    + tuple(
        Claim(
            text=f"{loss} is more robust than cross-entropy under AutoAttack at 0.1",
            loss=loss,
            than="i-sce:s=0",
            where={"attack": "autoattack-lite", "threat": "linf:0.1"},
        )
        for loss in (
            "i-sce:mode=multiplicative,s=5",
            "i-sce:mode=virtual-class,s=5",
            "i-sce:mode=virtual-class,s=100",
            "i-sce:space=cosine,s=15",
        )
    ),
    "i-sce-resnet": tuple(
        Claim(
            text=f"ResNet-32v2: i-sce:s=100 is more robust than cross-entropy under plain PGD-50 "
            f"at {eps}",
            loss="i-sce:s=100",
            than="i-sce:s=0",
            where={"attack": PLAIN, "threat": f"linf:{eps}"},
            stronger={"attack": "autoattack-lite", "threat": f"linf:{eps}"},
        )
        for eps in ("0.1", "0.2")
    ),
    "i-sce-adversarial": tuple(
        Claim(
            text=f"adversarial training with {loss} is more robust than with {than}",
            loss=loss,
            than=than,
        )
        for loss, than in (
            ("i-sce", "cross-entropy"),
            ("i-sce:s=5", "cross-entropy"),
            ("i-sce:s=20", "cross-entropy"),
            ("i-sce:mode=multiplicative,s=1", "cross-entropy"),
            ("i-sce:mode=virtual-class,s=5", "cross-entropy"),
            ("i-sce:space=cosine,s=5", "i-sce:space=cosine,s=0"),
        )
    ),
    "aalp": (
        Claim(text="AALP is more robust than ALP", loss="aalp", than="alp", paper="AALP"),
        *(
            Claim(text=f"{loss} is more robust than the default", loss=loss, than="aalp")
            for loss in ("aalp:drop=1,rescale=false", "aalp:drops=high", "aalp:attack_masked=true")
        ),
        *(
            Claim(text=f"{loss} is more robust than ALP", loss=loss, than="alp")
            for loss in (
                "aalp:attack_masked=true",
                "aalp:drops=high",
                "aalp:drop=0.25",
                "aalp:ramp=0.5",
                "aalp:granularity=batch",
                "aalp:granularity=batch,ramp=0.5",
                "aalp:granularity=batch,attack_masked=true",
                "aalp:guided_dropout=false,balance=both",
            )
        ),
        *(
            Claim(
                text=f"{loss} is more robust than alp:clean=0",
                loss=loss,
                than="alp:clean=0",
            )
            for loss in (
                "aalp:clean=0",
                "aalp:guided_dropout=false,clean=0",
                "aalp:granularity=batch,clean=0",
            )
        ),
        Claim(
            text="weights on both terms, gated, are more robust than ALP",
            loss="aalp:guided_dropout=false,weight=no-conflict,balance=both",
            than="alp",
        ),
        Claim(
            text="guided dropout alone is more robust than ALP",
            loss="aalp:adaptive_weights=false",
            than="alp",
        ),
        Claim(
            text="weights alone are more robust than ALP",
            loss="aalp:guided_dropout=false",
            than="alp",
        ),
        Claim(
            text="AALP needs fewer features for 90 % of a logit than ALP",
            loss="aalp",
            than="alp",
            metric="measures n_features_90 clean test",
            below=True,
            paper="AALP",
        ),
        Claim(
            text="aalp:drops=high needs more features than ALP",
            loss="aalp:drops=high",
            than="alp",
            metric="measures n_features_90 clean test",
        ),
        Claim(
            text="AALP has a lower cross-entropy of the hardest tenth than ALP",
            loss="aalp",
            than="alp",
            metric="measures cross_entropy_hardest_tenth clean test",
            below=True,
        ),
        Claim(
            text="ALP needs fewer features than adversarial training",
            loss="alp",
            than="cross-entropy",
            metric="measures n_features_90 clean test",
            below=True,
            paper="AALP",
        ),
    ),
    "losses-cifar10": (
        Claim(
            text="AALP is more robust than ALP on CIFAR-10", loss="aalp", than="alp", paper="AALP"
        ),
        *(
            Claim(
                text=f"aalp:attack_masked=true is more robust than {said}",
                loss="aalp:attack_masked=true",
                than=than,
            )
            for said, than in (("the default", "aalp"), ("ALP", "alp"))
        ),
        *(
            Claim(text=f"{loss} is more robust than {said}", loss=loss, than=than)
            for loss, said, than in (
                ("i-sce", "adversarial training", "cross-entropy"),
                ("alp", "adversarial training", "cross-entropy"),
                ("arow", "TRADES", "trades"),
                ("mail-trades", "TRADES", "trades"),
                ("rpat", "adversarial training", "cross-entropy"),
                ("gkl", "TRADES", "trades"),
                ("ewat-trades", "TRADES", "trades"),
                ("cow", "TRADES", "trades"),
                ("label-smoothing", "adversarial training", "cross-entropy"),
                ("mmc", "adversarial training", "cross-entropy"),
                ("center-loss", "adversarial training", "cross-entropy"),
                ("l-gm", "adversarial training", "cross-entropy"),
                ("mmlda", "adversarial training", "cross-entropy"),
            )
        ),
    ),
}
