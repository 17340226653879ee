"""Image classifiers of transformers: logits as with their own image processors."""

import json

import numpy as np
import pytest
import torch

from robbench.core.errors import UserError
from robbench.models.base import Loading
from robbench.models.create import create
from robbench.models.sources.hugging_face import HuggingFace
from robbench.models.sources.libraries import library, quiet

pytestmark = pytest.mark.usefixtures("no_network")
transformers = library("transformers", "hf")
SIZE = {"height": 32, "width": 32}
GIVEN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


@pytest.fixture(scope="module", autouse=True)
def _no_progress():
    """Saving shows its progress otherwise."""
    transformers.utils.logging.disable_progress_bar()


def vit(folder, classes=4, **options):
    """A small ViT of random weights with its processor, saved to a folder."""
    torch.manual_seed(1)
    with quiet():
        config = transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=32,
            patch_size=8,
            id2label={n: f"class {n}" for n in range(classes)},
        )
        model = transformers.ViTForImageClassification(config).eval()
        images = transformers.ViTImageProcessor(size=SIZE, **options)
        model.save_pretrained(folder)
        images.save_pretrained(folder)
    return model, images


def pixels(n=3, side=32):
    """Random images [n,H,W,3], bytes, and the same in [0,1] as [n,3,H,W]."""
    made = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)
    return made, torch.from_numpy(made).permute(0, 3, 1, 2) / 255


def same_logits(ours, theirs, images):
    made, x = pixels()
    prepared = images(list(made), return_tensors="pt")["pixel_values"]
    expected = theirs(prepared).logits
    torch.testing.assert_close(ours.eval()(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [60.0] * 3},
    ],
)
def test_logits_are_those_of_the_model_behind_its_processor(options, tmp_path, info):
    """A folder of save_pretrained; its mean and std go inside, whatever it scales."""
    theirs, images = vit(tmp_path, **options)
    data = info((3, 32, 32), 4)
    ours = create(f"hf:{tmp_path}", data, of=data.classes)
    same_logits(ours, theirs, images)
    assert ours.notes == []


def test_a_repository_in_the_cache_at_a_revision(hub, info):
    """`org/repo@revision`; another revision is not there."""
    theirs, images = vit(hub("org/tiny", "v2"))
    data = info((3, 32, 32), 4)
    same_logits(create("hf:org/tiny@v2", data, of=data.classes), theirs, images)
    with pytest.raises(UserError, match=r"hf:org/tiny@v3 is neither a folder nor in the Hugging"):
        create("hf:org/tiny@v3", data, of=data.classes)


def test_outputs_are_named_by_the_configuration(tmp_path, info):
    vit(tmp_path)
    loaded = HuggingFace(source=str(tmp_path)).load(Loading(info((3, 32, 32), 4), judged=True))
    assert loaded.labels == tuple(f"class {n}" for n in range(4))


def test_another_size_is_refused_with_the_data_option(tmp_path, info):
    vit(tmp_path)
    data = info((3, 8, 8), 4)
    words = r"cannot process images of shape \(3, 8, 8\).*:DIR,resize=32,crop=32,squash=true"
    with pytest.raises(UserError, match=words):
        create(f"hf:{tmp_path}", data, of=data.classes)


def test_bad_folders_are_refused_in_one_line(tmp_path, info, pickled):
    """Without configuration, with code of its own, with a pickle, with half of the weights."""
    data = info((3, 32, 32), 4)

    def refused(words):
        with pytest.raises(UserError, match=words) as caught:
            create(f"hf:{tmp_path}", data, of=data.classes)
        assert "\n" not in str(caught.value)

    refused("has no config.json")
    vit(tmp_path)
    with pytest.raises(UserError, match=r"is a file: give the folder it is in, or write checkpoi"):
        create(f"hf:{tmp_path / 'config.json'}", data, of=data.classes)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    weights.write_bytes(weights.read_bytes()[:3000])
    refused("model hf:.*incomplete")
    weights.unlink()
    pickled(tmp_path / "pytorch_model.bin")
    refused(r"runs? code")
    (tmp_path / "pytorch_model.bin").unlink()
    torch.save({"classifier.bias": torch.zeros(4)}, tmp_path / "pytorch_model.bin")
    refused("its file of weights lacks .* more; is it an image classifier")
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    entry = {"AutoConfig": "own.C", "AutoModelForImageClassification": "own.M"}
    config.write_text(json.dumps({"model_type": "own", "auto_map": entry}))
    refused("custom code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", [None, "ImageGPTImageProcessor"])
def test_without_a_processor_mean_and_std_are_given(kind, tmp_path, info):
    """A folder that has the model alone, or a processor of another kind that is not measured."""
    theirs, images = vit(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.unlink()
    if kind:
        file.write_text(json.dumps({"image_processor_type": kind}))
    data = info((3, 32, 32), 4)
    with pytest.raises(UserError, match=r"no image processor that can be used.*give mean"):
        create(f"hf:{tmp_path}", data, of=data.classes)
    spec = f"hf:{tmp_path},mean=(0.5,0.5,0.5),std=(0.5,0.5,0.5)"
    same_logits(create(spec, data, of=data.classes), theirs, images)


def test_given_mean_and_std_keep_the_channel_order_and_the_size(tmp_path, info):
    """MobileViT's processor turns RGB into BGR; its own numbers, given, change nothing."""
    theirs, _ = vit(tmp_path)
    images = transformers.MobileViTImageProcessor(
        size={"shortest_edge": 32}, crop_size=SIZE, resample=3
    )
    images.save_pretrained(tmp_path)
    data = info((3, 32, 32), 4)
    found = [HuggingFace(source=str(tmp_path), **given) for given in ({}, GIVEN)]
    for model in found:
        same_logits(model.build_from(Loading(data, judged=True)), theirs, images)
    loaded = [model.load(Loading(data, judged=True)) for model in found]
    assert loaded[0].size == loaded[1].size == (32, 32)
    assert loaded[0].prepared == loaded[1].prepared


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_a_kernel_that_the_configuration_names_is_not_used(key, tmp_path, info):
    """Attention of a repository on the hub would be code."""
    theirs, images = vit(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: "other/kernel"}))
    data = info((3, 32, 32), 4)
    model = create(f"hf:{tmp_path}", data, of=data.classes)
    same_logits(model, theirs, images)
    inner = next(part.config for part in model.modules() if hasattr(part, "config"))
    assert inner._attn_implementation == "eager"


def test_training_is_refused(tmp_path, info):
    vit(tmp_path)
    with pytest.raises(UserError, match="can be attacked but not trained"):
        create(f"hf:{tmp_path}", info((3, 32, 32), 4))
