"""The whole catalogue on one page: name -> (module:attribute, one line).

Modules are named from the package of their kind on, such as `pgd` of `robbench.attacks`, which is
also the entry-point group through which other packages add names. Nothing is imported until a name
is used. A target that starts with `=` is an alias of another spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from robbench.core.registry import Registry

if TYPE_CHECKING:
    from robbench.attacks.base import Attack, Backend
    from robbench.certifiers.base import Certifier
    from robbench.data.base import Data
    from robbench.losses.base import Loss
    from robbench.models.base import Architecture


_LOSSES = {
    "cross-entropy": (
        "cross_entropy:CrossEntropy",
        "softmax cross-entropy; with --inner: Madry et al. 2018",
    ),
    "trades": ("trades:TRADES", "cross-entropy + beta KL(clean || adversarial), Zhang et al. 2019"),
    "label-smoothing": ("label_smoothing:LabelSmoothing", "softened labels, Szegedy et al. 2016"),
    "one-vs-rest": (
        "one_vs_rest:OneVsRest",
        "one logistic loss per class, Rifkin and Klautau 2004",
    ),
    "sovr": ("sovr:SOVR", "one-vs-rest for the samples of smallest margin, Kanai et al. 2023"),
    "tsovr": ("sovr:TSOVR", "TRADES with sovr's switch, Kanai et al. 2023"),
    "i-sce": ("i_sce:ISCE", "cross-entropy with a handicap s on the true class, Song et al. 2022"),
    "alp": ("alp:ALP", "clean and adversarial logits paired, Kannan et al. 2018"),
    "aalp": ("aalp:AALP", "alp on few features with sample weights, Wu et al. 2020 (our reading)"),
    "clp": (
        "logit_regularisation:CLP",
        "logits of random pairs drawn together, Kannan et al. 2018",
    ),
    "lsq": (
        "logit_regularisation:LSQ",
        "cross-entropy + L2 norm of the logits, Kannan et al. 2018",
    ),
    "mart": ("mart:MART", "boosted cross-entropy + KL, more where misclassified, Wang et al. 2020"),
    "mail-at": ("mail:MAILAT", "cross-entropy weighted by probabilistic margins, Wang et al. 2021"),
    "mail-trades": (
        "mail:MAILTRADES",
        "TRADES weighted by probabilistic margins, Wang et al. 2021",
    ),
    "gairat": (
        "gairat:GAIRAT",
        "cross-entropy weighted by how soon a sample falls, Zhang et al. 2021",
    ),
    "ewat": (
        "ewat:EWAT",
        "adversarial cross-entropy weighted by predictive entropy, Kim et al. 2021",
    ),
    "ewat-trades": (
        "ewat:EWATTRADES",
        "TRADES weighted by predictive entropy, after Kim et al. 2021",
    ),
    "arow": ("arow:ARoW", "TRADES weighted by the adversarial error, Yang et al. 2023"),
    "cow": ("arow:CoW", "TRADES weighted by the clean error, Yang et al. 2023"),
    "gkl": ("gkl:GKL", "cross-entropy + KL in two parts, weighted by class, Cui et al. 2025"),
    "rpat": ("rpat:RPAT", "logits that change evenly towards the attack, Wang et al. 2025"),
    "adr": ("adr:ADR", "labels softened by the weights' average, Wu et al. 2024"),
    "hat": ("hat:HAT", "TRADES, and a clean model's answer beyond it, Rade et al. 2022"),
    "lbgat": ("lbgat:LBGAT", "logits drawn to a clean model's, Cui et al. 2021 (our reading)"),
    "mma": ("mma:MMA", "attacks each sample just as far as the boundary, Ding et al. 2020"),
    "dyart": ("dyart:DyART", "cross-entropy + distances to the boundary, Xu et al. 2023"),
    "mmc": ("mmc:MMC", "squared distance to fixed Max-Mahalanobis centres, Pang et al. 2020"),
    "mmlda": ("mmc:MMLDA", "softmax cross-entropy on distances to those centres, Pang et al. 2018"),
    "l-gm": ("l_gm:LGM", "large-margin Gaussian mixture with learned means, Wan et al. 2018"),
    "center-loss": (
        "center_loss:CenterLoss",
        "cross-entropy + distance to a moving class centre, Wen et al. 2016",
    ),
    "differential": (
        "differential:Differential",
        "feature differences of two classes, Nar et al. 2019",
    ),
}

_ATTACKS = {
    "fgsm": ("fgsm:FGSM", "one signed gradient step, Goodfellow et al. 2015"),
    "fgsm-rs": ("=fgsm:noise=1,rate=1.25", "fgsm from a random point, Wong et al. 2020"),
    "n-fgsm": (
        "=fgsm:noise=2,clip=false",
        "fgsm from noise, without projection, for training alone, de Jorge et al. 2022",
    ),
    "pgd": ("pgd:PGD", "projected gradient steps with restarts, Madry et al. 2018"),
    "apgd": ("apgd:APGD", "PGD that sets its own step size, Croce and Hein 2020"),
    "apgd-ce": ("=apgd:objective=cross-entropy", "apgd on cross-entropy"),
    "apgd-dlr": ("=apgd:objective=dlr", "apgd on the difference-of-logits ratio"),
    "apgd-t": (
        "=apgd:objective=dlr-targeted",
        "apgd on the targeted DLR, one run per target class",
    ),
    "tsta": (
        "tsta:TSTA",
        "every target probed, then one APGD run at the best, Yamamura et al. 2024",
    ),
    "pma": ("pma:PMA", "PGD on the probability margin, from two sides, Xie et al. 2025"),
    "mi-fgsm": ("mi_fgsm:MIFGSM", "iterated FGSM with momentum, Dong et al. 2018"),
    "a3": ("a3:A3", "diversified starts, then margin steps, in rounds, Liu et al. 2022"),
    "fab": ("fab:FAB", "shortest way to the boundary of all classes, Croce and Hein 2020"),
    "fab-t": ("=fab:targeted=true", "fab towards one class at a time"),
    "square": ("square:Square", "random squares, scores only, Andriushchenko et al. 2020"),
    "deepfool": (
        "deepfool:DeepFool",
        "linearised steps to the nearest class, Moosavi-Dezfooli et al. 2016",
    ),
    "cw": ("cw:CarliniWagner", "smallest L2 perturbation by penalty, Carlini and Wagner 2017"),
    "ddn": ("ddn:DDN", "decoupled direction and L2 norm, Rony et al. 2019"),
    "fmn": ("fmn:FMN", "fast minimum norm in L0, L1, L2, Linf, Pintor et al. 2021"),
    "sigma-zero": ("sigma_zero:SigmaZero", "fewest changed entries or pixels, Cinà et al. 2025"),
    "pdpgd": ("pdpgd:PDPGD", "primal-dual proximal gradients, Matyasko and Chau 2021"),
    "superdeepfool": (
        "superdeepfool:SuperDeepFool",
        "DeepFool, drawn back along the boundary's normal, Abdolahpourrad et al. 2023",
    ),
    "minimal": (
        "minimal:Minimal",
        "smallest budget at which another attack succeeds, by bisection",
    ),
    "hopskipjump": ("hopskipjump:HopSkipJump", "labels only, Chen et al. 2020"),
    "noise": ("noise:Noise", "random points of the ball: what no gradient attack should lose to"),
    "transfer": ("transfer:Transfer", "an attack on another model, tried on this one"),
    "eot": (
        "eot:EOT",
        "an attack on the average of several draws of a random model, Athalye et al. 2018",
    ),
    "foolbox": ("foolbox:Foolbox", "any attack of the foolbox package, as a backend"),
    "torchattacks": (
        "torchattacks:TorchAttacks",
        "any attack of the torchattacks package, as a backend",
    ),
    "adv-lib": ("adv_lib:AdvLib", "any attack of the adv-lib package, as a backend"),
    "pyautoattack": ("pyautoattack:PyAutoAttack", "the reference AutoAttack package, as a backend"),
}

_CERTIFIERS = {
    "ibp": ("ibp:IBP", "interval bounds, fast and loose, Gowal et al. 2018"),
    "crown": ("crown:CROWN", "linear bounds by backward substitution, Zhang et al. 2018"),
    "crown-ibp": ("=crown:inner=ibp", "crown with intervals inside, Zhang et al. 2020"),
    "auto-lirpa": (
        "auto_lirpa:AutoLiRPA",
        "bounds of the package auto_LiRPA, which you install, Xu et al. 2020",
    ),
    "smoothing": (
        "smoothing:Smoothing",
        "the classifier smoothed by noise, l2, any model, Cohen et al. 2019",
    ),
}

_MODELS = {
    "mlp": ("mlp:MLP", "fully connected; depth=0 is a linear classifier"),
    "small-cnn": ("cnn:SmallCNN", "three convolutions and two linear layers, any image size"),
    "preact-resnet18": ("preact_resnet:PreActResNet18", "He et al. 2016, the usual CIFAR size"),
    "resnet18": (
        "resnet18:ResNet18",
        "He et al. 2016 in its form for CIFAR, as TRADES, MART and AWP have it",
    ),
    "wide-resnet": ("wide_resnet:WideResNet", "Zagoruyko and Komodakis 2016, WRN-depth-width"),
    "checkpoint": (
        "sources.checkpoint:Checkpoint",
        "a file of weights of other code, checkpoint:FILE,arch=SPEC",
    ),
    "pyautoattack-resnet18": (
        "pyautoattack_resnet:PyAutoAttackResNet18",
        "the CIFAR-10 ResNet-18 inside the installed pyautoattack package (undefended)",
    ),
    "torchscript": ("sources.torchscript:TorchScript", "a file of torch.jit.save, with gradients"),
    "export": ("sources.export:Export", "a program of torch.export (.pt2), with gradients"),
    "onnx": ("sources.onnx:Onnx", "an ONNX file: scores only, or converted to torch"),
    "timm": ("sources.timm:Timm", "any model of timm by its name, timm:resnet50"),
    "torchvision": (
        "sources.torchvision:Torchvision",
        "any classifier of torchvision by its name, torchvision:resnet50",
    ),
    "hf": (
        "sources.hugging_face:HuggingFace",
        "an image classifier of Hugging Face, hf:FOLDER or hf:org/repo@revision",
    ),
    "robustbench": (
        "sources.robustbench:RobustBench",
        "any model of RobustBench's zoo by its name, robustbench:Rice2020Overfitting",
    ),
}

_DATA = {
    "digits": ("digits:Digits", "1,797 8x8 digits, embedded in scikit-learn"),
    "mnist": ("vision:MNIST", "handwritten digits, 1x28x28"),
    "fashion-mnist": ("vision:FashionMNIST", "clothing, 1x28x28"),
    "cifar10": ("vision:CIFAR10", "10 classes, 3x32x32"),
    "cifar100": ("vision:CIFAR100", "100 classes, 3x32x32"),
    "svhn": ("vision:SVHN", "house numbers, 3x32x32"),
    "parquet": ("parquet:ParquetImages", "a folder of Parquet files in the Hugging Face layout"),
    "folder": ("folder:ImageFolder", "one sub-folder per class"),
    "csv": ("csv_table:CSVTable", "a table of features, for tabular models"),
    "npz": ("npz:NPZ", "arrays in a file of NumPy, by key"),
    "npy": ("npz:NPY", "an array of images in a file, and one of labels"),
}


def _registry(
    kind: str, package: str, base: str, table: Mapping[str, tuple[str, str]]
) -> Registry[Any]:
    """Of a kind whose modules, `base` among them, and entry points are named after `package`."""
    whole = {
        name: (target if target.startswith("=") else f"{package}.{target}", summary)
        for name, (target, summary) in table.items()
    }
    return Registry(kind, base=f"{package}.base:{base}", group=package, table=whole)


LOSSES: Registry[Loss] = _registry("loss", "robbench.losses", "Loss", _LOSSES)
ATTACKS: Registry[Attack[Any] | Backend] = _registry(
    "attack", "robbench.attacks", "AnyAttack", _ATTACKS
)
CERTIFIERS: Registry[Certifier] = _registry(
    "certifier", "robbench.certifiers", "Certifier", _CERTIFIERS
)
MODELS: Registry[Architecture] = _registry("model", "robbench.models", "Architecture", _MODELS)
DATA: Registry[Data] = _registry("data set", "robbench.data", "Data", _DATA)

REGISTRIES: dict[str, Registry[Any]] = {
    "losses": LOSSES,
    "attacks": ATTACKS,
    "certifiers": CERTIFIERS,
    "models": MODELS,
    "data": DATA,
}
