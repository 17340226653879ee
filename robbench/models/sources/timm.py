"""Models of timm (PyTorch Image Models, Wightman 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from robbench.models.base import Loading
from robbench.models.sources.base import Loaded
from robbench.models.sources.libraries import other_code, unknown_name
from robbench.models.sources.named import Named, download_to, outputs_in, torch_hub_file
from robbench.models.sources.weight_files import read_weight_file

_SCALING = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True, kw_only=True)
class Timm(Named):
    """A model of timm by its name, with or without a tag: `resnet50`, `resnet50.a1_in1k`.

    Weights come from the cache of the Hugging Face hub or of torch.hub, from `weights=FILE`, or
    with --download from the network. The normalisation of the model's configuration goes inside.
    Needs `pip install 'robbench[timm]'`.
    """

    package: ClassVar[str] = "timm"

    def require_known(self, library: Any) -> None:
        """UserError with the nearest names where timm has no model of this name and tag."""
        base, _, tag = self.name.partition(".")
        if not library.is_model(base):
            raise unknown_name(self.what, base, library.list_models(), "timm.list_models()")
        tagged = library.list_models(f"{base}.*", pretrained=True)
        if tag and self.name not in tagged:
            raise unknown_name(self.what, self.name, tagged, "timm.list_pretrained()")

    def random(self, library: Any, loading: Loading) -> Loaded:
        """A new model for the data's channels and classes."""
        info = loading.info
        model = library.create_model(
            self.name, num_classes=len(info.classes), in_chans=info.shape[0]
        )
        config = library.data.resolve_data_config({}, model=model)
        if self.pretrained or len(config["mean"]) == info.shape[0]:
            return Loaded(model, tuple(config["mean"]), tuple(config["std"]))
        return Loaded(model, info.mean, info.std)

    def with_weights(self, library: Any, loading: Loading) -> Loaded:
        """The model with its weights; with a new head where one is needed to train on the data."""
        channels, classes = loading.info.shape[0], len(loading.info.classes)
        with other_code(self.what, loading.download):
            if self.weights is None:
                model = self._from_cache(library, channels, loading.download)
                found = _described(library, model, loading.judged)
            else:
                path = Path(self.weights)
                model = self._for_file(library, channels, path)
                found = self.fill(_described(library, model, loading.judged), path, channels)
            if not loading.judged and model.num_classes != classes:
                model.reset_classifier(classes)
            return found

    def _from_cache(self, library: Any, channels: int, download: bool) -> Any:
        config = library.models.get_pretrained_cfg(self.name) or library.models.PretrainedCfg()
        found = next(_files(config, download=False), None)
        if found is None and download:
            found = next(_files(config, download=True), None)
        if found is None:
            raise self.no_weights(_places(config))
        # timm brings the file's layout into its own.
        model = library.create_model(
            self.name,
            pretrained=True,
            in_chans=channels,
            pretrained_cfg_overlay={"state_dict": read_weight_file(found)},
        )
        del model.pretrained_cfg["state_dict"]
        return model

    def _for_file(self, library: Any, channels: int, path: Path) -> Any:
        config = library.models.get_pretrained_cfg(self.name) or library.models.PretrainedCfg()
        heads = config.classifier or ()
        head = heads if isinstance(heads, str) else next(iter(heads), "")
        outputs = outputs_in(path, head) or config.num_classes
        return library.create_model(self.name, num_classes=outputs, in_chans=channels)


def _hub_files(config: Any) -> list[str]:
    name = config.hf_hub_filename or "pytorch_model.bin"
    safe = "model.safetensors" if name == "pytorch_model.bin" else name
    return list(dict.fromkeys([safe.replace("pytorch_model.bin", "model.safetensors"), name]))


def _url(config: Any) -> tuple[str, str | None]:
    """The address of the weights, and the name of their file where it is another."""
    found: Any = config.url or ""
    return (found, None) if isinstance(found, str) else tuple(found)


def _places(config: Any) -> list[str]:
    url, name = _url(config)
    found = [f"the Hugging Face cache ({config.hf_hub_id})"] if config.hf_hub_id else []
    return found + ([str(torch_hub_file(url, name))] if url and not url.endswith(".npz") else [])


def _files(config: Any, *, download: bool) -> Iterator[Path]:
    """The files of a configuration's weights that are there, or can be downloaded."""
    if config.hf_hub_id:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        repository, _, revision = config.hf_hub_id.partition("@")
        for file in _hub_files(config):
            try:
                found = hf_hub_download(
                    repository, file, revision=revision or None, local_files_only=not download
                )
            except EntryNotFoundError:
                continue
            yield Path(found)
    url, name = _url(config)
    if url and not url.endswith(".npz"):
        path = torch_hub_file(url, name)
        if download and not path.is_file():
            download_to(path, url)
        if path.is_file():
            yield path


def _described(library: Any, model: nn.Module, judged: bool) -> Loaded:
    config = library.data.resolve_data_config({}, model=model)
    height, width = config["input_size"][1:]
    squash = {"center": "", "squash": ",squash=true"}.get(config["crop_mode"])
    prepared = ""
    if height == width and squash is not None:
        prepared = f"resize={math.floor(height / config['crop_pct'])},crop={height}{squash}"
        if config["interpolation"] in _SCALING:
            prepared += f",filter={config['interpolation']}"
    return Loaded(
        model,
        tuple(config["mean"]),
        tuple(config["std"]),
        labels=_labels(library, model) if judged else (),
        size=(height, width),
        prepared=prepared,
    )


def _labels(library: Any, model: Any) -> tuple[str, ...]:
    """`n01440764 tench, Tinca tinca`: the WordNet id and the names of each output."""
    config = {**model.pretrained_cfg, "num_classes": model.num_classes}
    if names := config.get("label_names"):
        more = config.get("label_descriptions") or {}
        known = tuple(f"{name} {more[name]}" if name in more else name for name in names)
        return known if len(known) == model.num_classes else ()
    subset = library.data.infer_imagenet_subset(config)
    if subset is None:
        return ()
    info = library.data.ImageNetInfo(subset)
    pairs = zip(info.label_names(), info.label_descriptions(), strict=True)
    return tuple(f"{one} {name}" for one, name in pairs)
