"""What the backends of other packages share.

Names and options are checked early; the model and global state are left as they were.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import io
import math
import random
import unicodedata
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from robbench.attacks.base import Backend
from robbench.core.errors import RobbenchError, RunError, UserError, nearest, text_of, unknown
from robbench.core.freeze import kept
from robbench.core.rows import pick
from robbench.core.spec import Spec, parse_number, parse_spec
from robbench.threat.problem import Problem, size_and_fits

T = TypeVar("T")

WORDS = {"true": True, "false": False, "none": None}


def parse_options(text: str) -> dict[str, str]:
    """`steps=20,rate=8/255` -> {"rate": "8/255", "steps": "20"}, sorted, or UserError."""
    spec = parse_spec(f"options:{text}") if text else Spec("options")
    if spec.argument is not None:
        raise UserError(f"malformed options {text!r}: {spec.argument!r} is not key=value")
    return {_spelled(key): value for key, value in sorted(spec.options.items())}


def _canonical(text: str) -> str:
    return str(Spec("", None, parse_options(text))).removeprefix(":")


def _spelled(name: str) -> str:
    """A name with its Greek letters written out, as in `gamma_init`."""
    return "".join(
        c if c.isascii() else unicodedata.name(c, c).rpartition(" ")[2].lower() for c in name
    )


def _value(text: str) -> Any:
    """A whole number, a number (`8/255` too), true, false or none; else the text itself."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        return float(parse_number(text))
    return text


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackageAttack(Backend):
    """Any attack of one other package, by name. Name and options are checked when it is made."""

    argument: ClassVar[str] = "attack"
    package: ClassVar[str]

    attack: Annotated[
        str, Field(min_length=1, description="its name in the package, in capitals or not")
    ]
    options: Annotated[
        str,
        AfterValidator(_canonical),
        Field(description="the package's options for it: (name=value,...)"),
    ] = ""

    def __post_init__(self) -> None:
        _ = self.norms

    @property
    def what(self) -> str:
        """How messages call it."""
        return f"attack {self.package}:{self.attack}"

    @property
    @abstractmethod
    def norms(self) -> frozenset[str]:  # type: ignore[override]
        """The norms this one attack works in."""

    @property
    @abstractmethod
    def goal(self) -> Literal["fixed-eps", "minimum-norm"]:  # type: ignore[override]
        """What this one attack works towards."""

    @abstractmethod
    def points(self, model: nn.Module, p: Problem, eps: float, seed: int) -> Tensor:
        """What the package makes of the samples, inside box and budget or not."""

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        eps = float(p.eps[0])
        if p.norm.name not in self.norms:
            raise UserError(
                f"{self.what} does not work in {p.norm.name}; it knows "
                f"{', '.join(sorted(self.norms))}"
            )
        if self.goal == "fixed-eps" and math.isinf(eps):
            raise UserError(f"{self.what} needs a budget, eps cannot be inf")
        with alone(model, seed, self.what):
            x = self.points(model, p.replace(x0=p.x0.clone(), y=p.y.clone()), eps, seed).detach()
        x = x.to(p.x0).reshape(p.x0.shape)
        x = p.ball.into_box(torch.where(torch.isfinite(x), x, p.x0))
        return pick(size_and_fits(x, p)[1], x, p.ball.project(x))

    def find(self, known: Mapping[str, T]) -> T:
        """The attack of that name. UserError with the nearest names when there is none."""
        folded = {name.lower(): found for name, found in known.items()}
        if self.attack.lower() not in folded:
            raise unknown(f"{self.package} attack", self.attack, folded)
        return folded[self.attack.lower()]

    def bind(self, function: Callable[..., Any], ours: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments for the package's function.

        The user's, checked against its signature, and ours where it takes them.
        """
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        known = {
            _spelled(p.name): p
            for p in inspect.signature(function).parameters.values()
            if p.kind in kinds
        }
        free = known.keys() - ours.keys()
        given = {name: _value(text) for name, text in parse_options(self.options).items()}
        for name, value in given.items():
            if name in ours:
                raise UserError(f"{self.what}: {name} is not an option here, robbench sets it")
            if name not in free:
                raise UserError(
                    f"{self.what}: unknown option '{name}'"
                    + (nearest(name, free) if free else "; it has none")
                )
            default = known[name].default
            if isinstance(default, bool) and not isinstance(value, bool):
                raise UserError(f"{self.what}: {name}={value!r}: should be true or false")
            if type(default) in (int, float) and isinstance(value, bool | str):
                raise UserError(f"{self.what}: {name}={value!r}: should be a number")
        missing = [
            name for name in free - given.keys() if known[name].default is inspect.Parameter.empty
        ]
        if missing:
            raise UserError(f"{self.what}: its option {min(missing)} must be given")
        return {
            known[name].name: value for name, value in {**ours, **given}.items() if name in known
        }


def load(module: str, install: str) -> Any:
    """Import another package. UserError, with how to install it, when that cannot be done."""
    package = module.partition(".")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = "it" if error.name == package else f"the module '{error.name}' that it needs"
        wanted = install if error.name == package else error.name
        raise UserError(
            f"attacks of {package} need that package; to install {missing}: pip install {wanted}"
        ) from None
    except Exception as error:
        reason = text_of(error).strip().partition("\n")[0]
        raise UserError(
            f"the package {package} cannot be imported ({type(error).__name__}: {reason})"
        ) from error


@contextlib.contextmanager
def alone(model: nn.Module, seed: int, what: str) -> Iterator[None]:
    """Let another package run: seeded, silent, with the model's weights frozen.

    Afterwards generators, modes, buffers and gradient flags are as before. What it raises becomes a
    RunError of one line.
    """
    in_training = any(module.training for module in model.modules() if module is not model)
    try:
        with (
            kept(model, buffers=in_training or model.training),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            torch.enable_grad(),
        ):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
            # Packages ask a wrapper, which is born in training mode.
            model.training = in_training
            for weight in model.parameters():
                weight.requires_grad_(False)
            warnings.simplefilter("ignore")
            yield
    except RobbenchError:
        raise
    except Exception as error:
        reason = text_of(error).strip().partition("\n")[0]
        raise RunError(f"{what} raised {type(error).__name__}: {reason}") from error
