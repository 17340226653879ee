"""What a user's word for a model leads to. Without torch, so that a typing error costs no time."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterable
from pathlib import Path

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError, nearest
from robbench.store.address.copies import bring
from robbench.store.locations import is_there, matches
from robbench.store.store import Store


def find_folder(text: str, store: Store) -> tuple[Path | None, str | None]:
    """The folder and checkpoint that NAME or PATH, possibly with @best or @last, means.

    (None, None) where there is no such folder.
    """
    for name, at, which in ((text, "", ""), text.rpartition("@")):
        for path in (store.models / name, Path(name)):
            # Some long model specs are no possible path: not an error here.
            if name and is_there(path / "config.json"):
                bring(path)
                return path, which if at else None
    return None, None


def matching_models(text: str, store: Store) -> list[str]:
    """The trained models that a pattern with * ? or [] matches; what is no pattern, as it is.

    A pattern is of names in the output folder or of paths, with @best or @last behind it if wanted.
    Raises UserError where no trained model matches.
    """
    if ":" in text or not glob.has_magic(text) or find_folder(text, store)[0] is not None:
        return [text]
    pattern, at, which = text.partition("@")
    names = sorted(path.parent.name for path in store.models.glob("*/config.json"))
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not found and "/" in pattern:
        found = [
            str(path)
            for path in matches(pattern)
            if isinstance(path, Path) and is_there(path / "config.json")
        ]
    if not found:
        there = f"; there is {', '.join(names)}" if names else ""
        raise UserError(f"no trained model in {store.models} matches '{pattern}'{there}")
    return [f"{name}{at}{which}" for name in found]


def known_models(texts: Iterable[str], store: Store) -> list[str]:
    """The models that names, specs and patterns mean, each once.

    Raises UserError as `matching_models` and `require_known` do.
    """
    names = list(dict.fromkeys(name for text in texts for name in matching_models(text, store)))
    for name in names:
        require_known(name, store)
    return names


def require_known(text: str, store: Store) -> None:
    """Raise UserError, with the nearest names, for what is neither a saved model nor a spec."""
    if find_folder(text, store)[0] is None and ":" not in text and text not in MODELS.entries:
        known = [path.name for path in store.models.glob("*") if (path / "config.json").is_file()]
        hint = _own(text) or nearest(text, [*known, *MODELS.entries])
        raise UserError(
            f"unknown model '{text}': not in {store.models}, no folder of a saved model, no "
            f"model spec{hint}"
        )


def _own(text: str) -> str:
    """What to write for a file named where a model is due; empty when there is no such file."""
    if Path(text).suffix != ".py" and not Path(text).is_file() and Path(f"{text}.py").is_file():
        text = f"{text}.py"
    if not Path(text).is_file():
        return ""
    # These load torch.
    from robbench.models.sources.checkpoint import suggestion
    from robbench.models.sources.program_file import program_spec

    if Path(text).suffix == ".py":
        return f"; a function or class of {text} is {Path(text).stem}:NAME"
    if spec := program_spec(text):
        return f"; did you mean {spec}?"
    try:
        return f"; a file of weights needs its architecture: {suggestion(Path(text))}"
    except UserError as error:
        return f"; {error}"
