"""Image classifiers of Hugging Face's transformers, from a folder or the hub's cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.models.base import Loading
from robbench.models.shapes import image_shape
from robbench.models.sources.base import Loaded, Source
from robbench.models.sources.image_processors import preparation, size_and_options
from robbench.models.sources.imagenet import with_ids
from robbench.models.sources.libraries import library, other_code
from robbench.models.sources.weight_files import read_weight_file


class Reversed(nn.Module):
    """A module that takes its channels in reverse order (BGR)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        """Whatever the module returns."""
        return self.model(x.flip(1))


@dataclass(frozen=True, kw_only=True)
class HuggingFace(Source):
    """An image classifier of transformers: a folder of `save_pretrained`, or a repository.

    A repository, `org/repo@revision`, is read from the hub's cache, or with --download from the
    network. Code of the repository is never run, and weights are never unpickled. The model's
    image processor gives mean, std and the order of the channels, which go inside. Needs
    `pip install 'robbench[hf]'`.
    """

    argument: ClassVar[str] = "source"
    places: ClassVar[tuple[str, ...]] = (*Source.places, "source")

    source: Annotated[
        str, Field(min_length=1, description="the folder, or org/repo or org/repo@revision")
    ]

    def load(self, loading: Loading) -> Loaded:
        """The classifier with its weights. UserError where it is to be trained."""
        what = f"model hf:{self.source}"
        image_shape(loading.info, what.removeprefix("model "))
        if not loading.judged:
            raise UserError(
                f"{what} can be attacked but not trained: a trained one could not be built again "
                "without that source; write a function that builds it, module:function"
            )
        found = library("transformers", "hf")
        name, revision = self._place(what)
        with other_code(what, loading.download), _silent(found):
            arguments = {
                "revision": revision or "main",
                "local_files_only": not loading.download,
                "trust_remote_code": False,
            }
            _require_readable(name, revision, what, loading.download)
            config = found.AutoConfig.from_pretrained(name, **arguments)
            if "/" in str(config._attn_implementation):
                config._attn_implementation = "eager"  # not a kernel of the hub, which is code
            model, info = found.AutoModelForImageClassification.from_pretrained(
                name, config=config, output_loading_info=True, weights_only=True, **arguments
            )
            _require_whole(info, what)
            labels = _labels(model.config)
            try:
                images = found.AutoImageProcessor.from_pretrained(name, **arguments)
                done = preparation(images)
            except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
                # It is not there, or not made like the others, as timm's.
                if self.mean is not None:
                    return Loaded(model, labels=labels)
                raise UserError(
                    f"{what} has no image processor that can be used ({type(error).__name__}): "
                    "give mean and std, mean=(0.5,0.5,0.5),std=(0.5,0.5,0.5)"
                ) from error
            return Loaded(
                Reversed(model) if done.reverse else model,
                done.mean,
                done.std,
                labels=labels,
                **size_and_options(images, done),
            )

    def _place(self, what: str) -> tuple[str, str]:
        """The folder, or the repository and its revision."""
        if Path(self.source).expanduser().is_dir():
            return str(Path(self.source).expanduser()), ""
        if Path(self.source).is_file():
            raise UserError(
                f"{what} is a file: give the folder it is in, or write checkpoint:{self.source}"
            )
        name, _, revision = self.source.partition("@")
        if name.count("/") > 1 or name.startswith((".", "/", "~")):
            raise UserError(f"{what}: there is no such folder")
        return name, revision


def _require_readable(name: str, revision: str, what: str, download: bool) -> None:
    """UserError where a folder, or the hub's cache, has no model, or one only unpickling reads."""
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UserError(f"{what} has no config.json: give a folder of save_pretrained")
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "config.json", revision=revision or None)
        if isinstance(found, str):
            folder = Path(found).parent
        elif not download:
            raise UserError(
                f"{what} is neither a folder nor in the Hugging Face cache: add --download, or "
                "give the folder it was saved to"
            )
    if not any(folder.glob("*.safetensors")):
        for file in folder.glob("*.bin"):
            read_weight_file(file)


def _require_whole(info: Any, what: str) -> None:
    """UserError where a file lacks some of the weights, which would be random."""
    for key, text in (("missing_keys", "lacks"), ("mismatched_keys", "has in another shape")):
        if names := sorted(map(str, info[key])):
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"{what}: its file of weights {text} {names[0]}{more}; is it an image classifier?"
            )


def _labels(config: Any) -> tuple[str, ...]:
    names = config.id2label or {}
    if sorted(names) != list(range(len(names))):
        return ()
    return with_ids([str(names[n]) for n in range(len(names))]) if names else ()


@contextlib.contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Inside, transformers shows no progress of reading files."""
    log = transformers.utils.logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()
