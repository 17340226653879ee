"""The whole catalogue on one page: name -> (module:attribute, one line).

Nothing is imported until a name is used.

A target that starts with `=` is an alias of another spec. Other packages add names through the
entry-point groups below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robbench.core.registry import Registry

if TYPE_CHECKING:
    from robbench.attacks.base import Attack, Backend
    from robbench.data.base import Data
    from robbench.losses.base import Loss
    from robbench.models.base import Architecture

LOSSES: Registry[Loss] = Registry(
    "loss",
    base="robbench.losses.base:Loss",
    group="robbench.losses",
    table={
        "cross-entropy": (
            "robbench.losses.cross_entropy:CrossEntropy",
            "softmax cross-entropy; with --inner: Madry et al. 2018",
        ),
        "trades": (
            "robbench.losses.trades:TRADES",
            "cross-entropy + beta KL(clean || adversarial), Zhang et al. 2019",
        ),
        "label-smoothing": (
            "robbench.losses.label_smoothing:LabelSmoothing",
            "softened labels, Szegedy et al. 2016",
        ),
        "one-vs-rest": (
            "robbench.losses.one_vs_rest:OneVsRest",
            "one logistic loss per class, Rifkin and Klautau 2004",
        ),
        "sovr": (
            "robbench.losses.sovr:SOVR",
            "one-vs-rest for the samples of smallest margin, Kanai et al. 2023",
        ),
        "tsovr": ("robbench.losses.sovr:TSOVR", "TRADES with sovr's switch, Kanai et al. 2023"),
        "i-sce": (
            "robbench.losses.i_sce:ISCE",
            "cross-entropy with a handicap s on the true class, Song et al. 2022",
        ),
        "alp": (
            "robbench.losses.alp:ALP",
            "clean and adversarial logits paired, Kannan et al. 2018",
        ),
        "aalp": (
            "robbench.losses.aalp:AALP",
            "alp on few features with sample weights, Wu et al. 2020 (our reading)",
        ),
        "clp": (
            "robbench.losses.logit_regularisation:CLP",
            "logits of random pairs drawn together, Kannan et al. 2018",
        ),
        "lsq": (
            "robbench.losses.logit_regularisation:LSQ",
            "cross-entropy + L2 norm of the logits, Kannan et al. 2018",
        ),
        "mart": (
            "robbench.losses.mart:MART",
            "boosted cross-entropy + KL, more where misclassified, Wang et al. 2020",
        ),
        "mail-at": (
            "robbench.losses.mail:MAILAT",
            "cross-entropy weighted by probabilistic margins, Wang et al. 2021",
        ),
        "mail-trades": (
            "robbench.losses.mail:MAILTRADES",
            "TRADES weighted by probabilistic margins, Wang et al. 2021",
        ),
        "gairat": (
            "robbench.losses.gairat:GAIRAT",
            "cross-entropy weighted by how soon a sample falls, Zhang et al. 2021",
        ),
        "ewat": (
            "robbench.losses.ewat:EWAT",
            "adversarial cross-entropy weighted by predictive entropy, Kim et al. 2021",
        ),
        "ewat-trades": (
            "robbench.losses.ewat:EWATTRADES",
            "TRADES weighted by predictive entropy, after Kim et al. 2021",
        ),
        "mma": (
            "robbench.losses.mma:MMA",
            "attacks each sample just as far as the boundary, Ding et al. 2020",
        ),
        "mmc": (
            "robbench.losses.mmc:MMC",
            "squared distance to fixed Max-Mahalanobis centres, Pang et al. 2020",
        ),
        "mmlda": (
            "robbench.losses.mmc:MMLDA",
            "softmax cross-entropy on distances to those centres, Pang et al. 2018",
        ),
        "l-gm": (
            "robbench.losses.l_gm:LGM",
            "large-margin Gaussian mixture with learned means, Wan et al. 2018",
        ),
        "center-loss": (
            "robbench.losses.center_loss:CenterLoss",
            "cross-entropy + distance to a moving class centre, Wen et al. 2016",
        ),
        "differential": (
            "robbench.losses.differential:Differential",
            "feature differences of two classes, Nar et al. 2019",
        ),
    },
)

ATTACKS: Registry[Attack[Any] | Backend] = Registry(
    "attack",
    base="robbench.attacks.base:AnyAttack",
    group="robbench.attacks",
    table={
        "fgsm": ("robbench.attacks.fgsm:FGSM", "one signed gradient step, Goodfellow et al. 2015"),
        "pgd": (
            "robbench.attacks.pgd:PGD",
            "projected gradient steps with restarts, Madry et al. 2018",
        ),
        "apgd": (
            "robbench.attacks.apgd:APGD",
            "PGD that sets its own step size, Croce and Hein 2020",
        ),
        "apgd-ce": ("=apgd:objective=cross-entropy", "apgd on cross-entropy"),
        "apgd-dlr": ("=apgd:objective=dlr", "apgd on the difference-of-logits ratio"),
        "apgd-t": (
            "=apgd:objective=dlr-targeted",
            "apgd on the targeted DLR, one run per target class",
        ),
        "tsta": (
            "robbench.attacks.tsta:TSTA",
            "every target probed, then one APGD run at the best, Yamamura et al. 2024",
        ),
        "pma": (
            "robbench.attacks.pma:PMA",
            "PGD on the probability margin, from two sides, Xie et al. 2025",
        ),
        "mi-fgsm": (
            "robbench.attacks.mi_fgsm:MIFGSM",
            "iterated FGSM with momentum, Dong et al. 2018",
        ),
        "a3": (
            "robbench.attacks.a3:A3",
            "diversified starts, then margin steps, in rounds, Liu et al. 2022",
        ),
        "fab": (
            "robbench.attacks.fab:FAB",
            "shortest way to the boundary of all classes, Croce and Hein 2020",
        ),
        "fab-t": ("=fab:targeted=true", "fab towards one class at a time"),
        "square": (
            "robbench.attacks.square:Square",
            "random squares, scores only, Andriushchenko et al. 2020",
        ),
        "deepfool": (
            "robbench.attacks.deepfool:DeepFool",
            "linearised steps to the nearest class, Moosavi-Dezfooli et al. 2016",
        ),
        "cw": (
            "robbench.attacks.cw:CarliniWagner",
            "smallest L2 perturbation by penalty, Carlini and Wagner 2017",
        ),
        "ddn": ("robbench.attacks.ddn:DDN", "decoupled direction and L2 norm, Rony et al. 2019"),
        "fmn": (
            "robbench.attacks.fmn:FMN",
            "fast minimum norm in L0, L1, L2, Linf, Pintor et al. 2021",
        ),
        "sigma-zero": (
            "robbench.attacks.sigma_zero:SigmaZero",
            "fewest changed entries or pixels, Cinà et al. 2025",
        ),
        "pdpgd": (
            "robbench.attacks.pdpgd:PDPGD",
            "primal-dual proximal gradients, Matyasko and Chau 2021",
        ),
        "superdeepfool": (
            "robbench.attacks.superdeepfool:SuperDeepFool",
            "DeepFool, drawn back along the boundary's normal, Abdolahpourrad et al. 2023",
        ),
        "minimal": (
            "robbench.attacks.minimal:Minimal",
            "smallest budget at which another attack succeeds, by bisection",
        ),
        "hopskipjump": (
            "robbench.attacks.hopskipjump:HopSkipJump",
            "labels only, Chen et al. 2020",
        ),
        "noise": (
            "robbench.attacks.noise:Noise",
            "random points of the ball: what no gradient attack should lose to",
        ),
        "transfer": (
            "robbench.attacks.transfer:Transfer",
            "an attack on another model, tried on this one",
        ),
        "eot": (
            "robbench.attacks.eot:EOT",
            "an attack on the average of several draws of a random model, Athalye et al. 2018",
        ),
        "foolbox": (
            "robbench.attacks.foolbox:Foolbox",
            "any attack of the foolbox package, as a backend",
        ),
        "torchattacks": (
            "robbench.attacks.torchattacks:TorchAttacks",
            "any attack of the torchattacks package, as a backend",
        ),
        "adv-lib": (
            "robbench.attacks.adv_lib:AdvLib",
            "any attack of the adv-lib package, as a backend",
        ),
        "pyautoattack": (
            "robbench.attacks.pyautoattack:PyAutoAttack",
            "the reference AutoAttack package, as a backend",
        ),
    },
)

MODELS: Registry[Architecture] = Registry(
    "model",
    base="robbench.models.base:Architecture",
    group="robbench.models",
    table={
        "mlp": ("robbench.models.mlp:MLP", "fully connected; depth=0 is a linear classifier"),
        "small-cnn": (
            "robbench.models.cnn:SmallCNN",
            "three convolutions and two linear layers, any image size",
        ),
        "preact-resnet18": (
            "robbench.models.preact_resnet:PreActResNet18",
            "He et al. 2016, the usual CIFAR size",
        ),
        "resnet18": (
            "robbench.models.resnet18:ResNet18",
            "He et al. 2016 in its form for CIFAR, as TRADES, MART and AWP have it",
        ),
        "wide-resnet": (
            "robbench.models.wide_resnet:WideResNet",
            "Zagoruyko and Komodakis 2016, WRN-depth-width",
        ),
        "checkpoint": (
            "robbench.models.sources.checkpoint:Checkpoint",
            "a file of weights of other code, checkpoint:FILE,arch=SPEC",
        ),
        "pyautoattack-resnet18": (
            "robbench.models.pyautoattack_resnet:PyAutoAttackResNet18",
            "the CIFAR-10 ResNet-18 inside the installed pyautoattack package (undefended)",
        ),
        "torchscript": (
            "robbench.models.sources.torchscript:TorchScript",
            "a file of torch.jit.save, with gradients",
        ),
        "export": (
            "robbench.models.sources.export:Export",
            "a program of torch.export (.pt2), with gradients",
        ),
        "onnx": (
            "robbench.models.sources.onnx:Onnx",
            "an ONNX file: scores only, or converted to torch",
        ),
        "timm": (
            "robbench.models.sources.timm:Timm",
            "any model of timm by its name, timm:resnet50",
        ),
        "torchvision": (
            "robbench.models.sources.torchvision:Torchvision",
            "any classifier of torchvision by its name, torchvision:resnet50",
        ),
        "hf": (
            "robbench.models.sources.hugging_face:HuggingFace",
            "an image classifier of Hugging Face, hf:FOLDER or hf:org/repo@revision",
        ),
        "robustbench": (
            "robbench.models.sources.robustbench:RobustBench",
            "any model of RobustBench's zoo by its name, robustbench:Rice2020Overfitting",
        ),
    },
)

DATA: Registry[Data] = Registry(
    "data set",
    base="robbench.data.base:Data",
    group="robbench.data",
    table={
        "digits": ("robbench.data.digits:Digits", "1,797 8x8 digits, embedded in scikit-learn"),
        "mnist": ("robbench.data.vision:MNIST", "handwritten digits, 1x28x28"),
        "fashion-mnist": ("robbench.data.vision:FashionMNIST", "clothing, 1x28x28"),
        "cifar10": ("robbench.data.vision:CIFAR10", "10 classes, 3x32x32"),
        "cifar100": ("robbench.data.vision:CIFAR100", "100 classes, 3x32x32"),
        "svhn": ("robbench.data.vision:SVHN", "house numbers, 3x32x32"),
        "parquet": (
            "robbench.data.parquet:ParquetImages",
            "a folder of Parquet files in the Hugging Face layout",
        ),
        "folder": ("robbench.data.folder:ImageFolder", "one sub-folder per class"),
        "csv": ("robbench.data.csv_table:CSVTable", "a table of features, for tabular models"),
        "npz": ("robbench.data.npz:NPZ", "arrays in a file of NumPy, by key"),
        "npy": ("robbench.data.npz:NPY", "an array of images in a file, and one of labels"),
    },
)

REGISTRIES: dict[str, Registry[Any]] = {
    "losses": LOSSES,
    "attacks": ATTACKS,
    "models": MODELS,
    "data": DATA,
}
