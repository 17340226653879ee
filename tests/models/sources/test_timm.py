"""Models of timm: logits as timm's own, weights from caches and files, nothing from the network."""

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from robbench.core.errors import UserError
from robbench.core.spec import build, parse_spec
from robbench.data.base import DataInfo
from robbench.data.folder import ImageFolder
from robbench.models.base import Loading
from robbench.models.create import create
from robbench.models.sources.imagenet import imagenet_ids
from robbench.models.sources.libraries import library
from robbench.models.sources.timm import Timm, _described

timm = library("timm", "timm")  # an import that warns of nothing
pytestmark = pytest.mark.usefixtures("no_network")
SMALL = "test_efficientnet"


def made(name=SMALL, seed=1, **options):
    """A model of timm with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return timm.create_model(name, **options).eval()


def as_timm_prepares(model, images):
    """Images [n,H,W,3] of the model's own size, prepared by its configuration's transform."""
    config = timm.data.resolve_data_config({"crop_pct": 1.0}, model=model)
    transform = timm.data.create_transform(**config)
    return torch.stack([transform(Image.fromarray(image)) for image in images])


def of_imagenet(side):
    """A description of images of the 1,000 classes."""
    return DataInfo((3, side, side), imagenet_ids(), (0.5,) * 3, (0.25,) * 3)


def images(side, n=3):
    """Random pixels [n,H,W,3], and the same in [0,1] as [n,3,H,W]."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)
    return pixels, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


@pytest.mark.parametrize(("name", "side"), [(SMALL, 160), ("test_vit", 160)])
def test_logits_are_those_of_timm_with_its_own_preparation(name, side, hub):
    """Weights in the hub's cache; the normalisation is part of the model."""
    theirs = made(name)
    folder = hub(theirs.pretrained_cfg["hf_hub_id"])
    safetensors.torch.save_file(theirs.state_dict(), folder / "model.safetensors")
    data = of_imagenet(side)
    ours = create(f"timm:{name}", data, of=data.classes).eval()
    pixels, x = images(side)
    torch.testing.assert_close(ours(x), theirs(as_timm_prepares(theirs, pixels)), atol=1e-5, rtol=0)
    assert ours.notes == []


def test_the_cache_of_torch_hub_is_used_too(torch_hub, hub):
    """A file at timm's address, as older versions kept it."""
    theirs = made("resnet18")
    name = theirs.pretrained_cfg["url"].rpartition("/")[2]
    torch.save(theirs.state_dict(), torch_hub / name)
    data = of_imagenet(32)
    ours = create("timm:resnet18", data, of=data.classes).eval()
    mean, std = (torch.tensor(theirs.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs((x - mean) / std), atol=1e-5, rtol=0)
    assert ours.notes == [
        "the model was made for 224x224 images, as --data folder:DIR,resize=235,crop=224,"
        "filter=bicubic makes them"
    ]


def test_a_file_of_weights_brings_its_own_number_of_classes(tmp_path, info):
    """Under the keys and prefixes that training code writes."""
    theirs = made(num_classes=4)
    state = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pt")
    data = info((3, 32, 32), 4)
    ours = create(f"timm:{SMALL},weights={tmp_path / 'w.pt'}", data, of=data.classes).eval()
    config, x = theirs.pretrained_cfg, torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    torch.testing.assert_close(ours(x), theirs((x - mean) / std), atol=1e-5, rtol=0)


def test_a_normalisation_in_the_file_replaces_that_of_the_configuration(tmp_path, info):
    """It is what the weights were trained with; both together would normalise twice."""
    theirs = made(num_classes=4)
    state = {f"1.{name}": tensor for name, tensor in theirs.state_dict().items()}
    state |= {"0.mean": torch.tensor([0.1, 0.2, 0.3]), "0.std": torch.full((3,), 0.5)}
    path = tmp_path / "w.pt"
    torch.save(state, path)
    data = info((3, 32, 32), 4)
    ours = create(f"timm:{SMALL},weights={path}", data, of=data.classes).eval()
    x = torch.rand(2, 3, 32, 32)
    expected = theirs((x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5)
    torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=0)
    assert ours.loaded[-1].endswith("mean=(0.1,0.2,0.3), std=(0.5,0.5,0.5) of 0.mean")


def described(name, **changes):
    """A module without weights that has a model's configuration, and what is said of it."""
    module = torch.nn.Identity()
    module.pretrained_cfg = {**timm.get_pretrained_cfg(name).to_dict(), **changes}
    return module, _described(timm, module, judged=False)


@pytest.mark.parametrize(
    ("name", "prepared"),
    [
        ("resnet50.a1_in1k", "resize=235,crop=224,filter=bicubic"),
        ("convnext_tiny.in12k_ft_in1k_384", "resize=384,crop=384,squash=true,filter=bicubic"),
        ("tf_efficientnetv2_b3.in21k_ft_in1k", "resize=266,crop=240,squash=true,filter=bicubic"),
    ],
)
def test_the_data_options_prepare_images_as_timm_does(name, prepared):
    """By the pixels of one that is not square; `crop_mode=squash` scales both of its sides."""
    module, found = described(name)
    assert found.prepared == prepared
    config = timm.data.resolve_data_config({}, model=module)
    theirs = timm.data.create_transform(**config, normalize=False)
    image = Image.fromarray(images(300)[0][0]).resize((500, 400))
    ours = np.asarray(build(ImageFolder, parse_spec(f"folder:.,{prepared}")).prepare(image))
    assert np.array_equal(ours, np.asarray(theirs(image)).transpose(1, 2, 0))


def test_what_no_data_option_prepares_gets_none():
    """Images that are not square, and a border."""
    for changes in ({"input_size": (3, 224, 192)}, {"crop_mode": "border"}):
        _, found = described("resnet50.a1_in1k", **changes)
        assert found.prepared == ""
        assert found.size == tuple(changes.get("input_size", (3, 224, 224)))[1:]


def test_random_weights_have_an_output_for_each_class(info):
    """From torch's generator, as timm's own; grey images too."""
    torch.manual_seed(1)
    ours = create(f"timm:{SMALL},pretrained=false", info((1, 32, 32), 7)).eval()
    theirs = made(num_classes=7, in_chans=1)
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(ours(x), theirs((x - 0.4) / 0.25), atol=1e-5, rtol=0)
    assert not Timm(name=SMALL, pretrained=False).pretrained


def test_a_model_to_be_trained_gets_a_new_head(tmp_path, info):
    """The rest keeps its weights."""
    theirs = made(num_classes=4)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    spec = f"timm:{SMALL},weights={tmp_path / 'w.safetensors'}"
    ours = create(spec, info((3, 32, 32), 7)).body.model
    assert ours.get_classifier().weight.shape == (7, 256)
    torch.testing.assert_close(ours.conv_stem.weight, theirs.conv_stem.weight, atol=0, rtol=0)
    rebuilt = create(spec, info((3, 32, 32), 7), weights=False)
    assert rebuilt.state_dict().keys() == create(spec, info((3, 32, 32), 7)).state_dict().keys()


def test_outputs_are_named_by_wordnet(hub, info):
    """Id and names, in the order of the outputs; none for other numbers of classes."""
    theirs = made()
    folder = hub(theirs.pretrained_cfg["hf_hub_id"])
    safetensors.torch.save_file(theirs.state_dict(), folder / "model.safetensors")
    labels = Timm(name=SMALL).load(Loading(info((3, 32, 32), 1000), judged=True)).labels
    assert labels[0] == "n01440764 tench, Tinca tinca"
    assert [label[:9] for label in labels] == timm.data.ImageNetInfo().label_names()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("resnet1800", "did you mean resnet18"),
        (f"{SMALL}.r224_in1k", f"did you mean {SMALL}.r160_in1k"),
        ("zzzzzzzzz", r"timm.list_models\(\) lists them"),
        (
            SMALL,
            r"not in the Hugging Face cache \(timm/test_efficientnet.r160_in1k\): add --download, "
            "give weights=FILE, or pretrained=false",
        ),
        ("resnet18", "hub/checkpoints/resnet18_a1_0-d63eafa0.pth: add --download"),
        (f"{SMALL},weights=none.pt", "no file of weights at none.pt"),
        ("efficientnet_x_b3", "has no weights in the library: give weights=FILE, or pretrained"),
    ],
)
def test_what_is_not_there_says_what_to_do(spec, words, hub, torch_hub, info):
    with pytest.raises(UserError, match=words) as caught:
        create(f"timm:{spec}", info())
    assert "\n" not in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path, info, pickled):
    """A pickle is not run, a truncated file and another architecture are told apart."""
    path = tmp_path / "w.pt"
    spec = f"timm:{SMALL},weights={path}"
    pickled(path)
    with pytest.raises(UserError, match=r"runs? code"):
        create(spec, info())
    torch.save(made("test_byobnet").state_dict(), path)
    with pytest.raises(UserError, match=f"does not fit model timm:{SMALL}: none of its names"):
        create(spec, info())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="truncated"):
        create(spec, info())


def test_a_file_in_the_cache_is_not_unpickled(hub, info, pickled):
    """A repository may hold anything."""
    pickled(hub("timm/test_efficientnet.r160_in1k") / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"runs? code"):
        create(f"timm:{SMALL}", info())
