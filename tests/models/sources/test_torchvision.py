"""Classifiers of torchvision: logits as torchvision's own, weights from cache and files."""

import dataclasses

import pytest
import torch
import torchvision

from robbench.core.errors import UserError
from robbench.models.base import Loading
from robbench.models.create import create
from robbench.models.sources.imagenet import imagenet_ids
from robbench.models.sources.torchvision import Torchvision

pytestmark = pytest.mark.usefixtures("no_network")
SMALL = "shufflenet_v2_x0_5"
WEIGHTS = torchvision.models.get_model_weights(SMALL).DEFAULT


def made(name=SMALL, **options):
    """A model of torchvision with random weights, in evaluation mode."""
    torch.manual_seed(1)
    return torchvision.models.get_model(name, weights=None, **options).eval()


def as_torchvision_prepares(pixels, weights=WEIGHTS):
    """Images as the transforms of the weights make them, but for scaling and cutting."""
    preset = weights.transforms(crop_size=32, resize_size=32)
    return torch.stack([preset(image) for image in pixels])


@pytest.fixture
def x():
    """Pixels [2,3,32,32], bytes."""
    return torch.randint(0, 256, (2, 3, 32, 32), generator=torch.manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize("name", [SMALL, "googlenet"])
def test_logits_are_those_of_torchvision_with_its_own_preparation(name, torch_hub, info, x):
    """Weights in the cache of torch.hub; `googlenet` is built otherwise with weights."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    more = {"init_weights": False} if name == "googlenet" else {}
    path = torch_hub / weights.url.rpartition("/")[2]
    torch.save(made(name, **more).state_dict(), path)
    theirs = torchvision.models.get_model(name, weights=weights).eval()
    data = dataclasses.replace(info((3, 32, 32)), classes=imagenet_ids())
    ours = create(f"torchvision:{name}", data, of=data.classes).eval()
    expected = theirs(as_torchvision_prepares(x, weights))
    torch.testing.assert_close(ours(x / 255), expected, atol=1e-5, rtol=0)
    assert ours.notes == [
        "the model was made for 224x224 images, as --data folder:DIR,resize=256,crop=224,"
        "filter=bilinear makes them"
    ]


def test_weights_are_chosen_by_their_name(torch_hub, info, x):
    """The named ones are looked for, the default ones are not."""
    named = torchvision.models.get_model_weights("resnet50")
    with pytest.raises(UserError, match=named.IMAGENET1K_V1.url.rpartition("/")[2]):
        create("torchvision:resnet50,weights=IMAGENET1K_V1", info())
    with pytest.raises(UserError, match=named.IMAGENET1K_V2.url.rpartition("/")[2]):
        create("torchvision:resnet50", info())
    with pytest.raises(UserError, match="none of its weights: IMAGENET1K_V1, IMAGENET1K_V2"):
        create("torchvision:resnet50,weights=IMAGENET1K_V3", info())


def test_a_file_of_weights_brings_its_own_number_of_classes(tmp_path, info, x):
    """Under the keys and prefixes that training code writes."""
    theirs = made(num_classes=4)
    state = {f"model.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    data = info((3, 32, 32), 4)
    spec = f"torchvision:{SMALL},weights={tmp_path / 'w.pt'}"
    ours = create(spec, data, of=data.classes).eval()
    expected = theirs(as_torchvision_prepares(x))
    torch.testing.assert_close(ours(x / 255), expected, atol=1e-5, rtol=0)
    assert Torchvision(name=SMALL, weights=str(tmp_path / "w.pt")).label(spec) == (
        f"torchvision:{SMALL},weights=w.pt"
    )


def test_a_normalisation_in_the_file_replaces_that_of_the_configuration(tmp_path, info, x):
    """It is what the weights were trained with; both together would normalise twice."""
    theirs = made(num_classes=4)
    state = {f"1.{name}": tensor for name, tensor in theirs.state_dict().items()}
    state |= {"0.mean": torch.tensor([0.1, 0.2, 0.3]), "0.std": torch.full((3,), 0.5)}
    path = tmp_path / "w.pt"
    torch.save(state, path)
    data = info((3, 32, 32), 4)
    ours = create(f"torchvision:{SMALL},weights={path}", data, of=data.classes).eval()
    expected = theirs((x / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5)
    torch.testing.assert_close(ours(x / 255), expected, atol=1e-5, rtol=0)
    assert ours.loaded[-1].endswith("mean=(0.1,0.2,0.3), std=(0.5,0.5,0.5) of 0.mean")


@pytest.mark.slow
def test_random_weights_have_an_output_for_each_class(info, x):
    """From torch's generator, as torchvision's own."""
    torch.manual_seed(1)
    ours = create(f"torchvision:{SMALL},pretrained=false", info((3, 32, 32), 7)).eval()
    expected = made(num_classes=7)(as_torchvision_prepares(x))
    torch.testing.assert_close(ours(x / 255), expected, atol=1e-5, rtol=0)
    assert ours.notes == []


def test_a_model_to_be_trained_gets_a_new_head(tmp_path, info):
    """The rest keeps its weights; where the last layer is a convolution it is refused."""
    theirs = made(num_classes=4)
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    spec = f"torchvision:{SMALL},weights={tmp_path / 'w.pt'}"
    ours = create(spec, info((3, 32, 32), 7)).body.model
    assert ours.fc.weight.shape == (7, 1024)
    torch.testing.assert_close(ours.conv5[0].weight, theirs.conv5[0].weight, atol=0, rtol=0)
    torch.save(made("squeezenet1_1", num_classes=4).state_dict(), tmp_path / "s.pt")
    with pytest.raises(UserError, match=r"its last layer is no nn.Linear"):
        create(f"torchvision:squeezenet1_1,weights={tmp_path / 's.pt'}", info((3, 32, 32), 7))


def test_outputs_are_named_with_their_wordnet_ids(torch_hub, info):
    """The library knows the names, in ImageNet's order."""
    torch.save(made().state_dict(), torch_hub / WEIGHTS.url.rpartition("/")[2])
    labels = Torchvision(name=SMALL).load(Loading(info((3, 32, 32), 2), judged=True)).labels
    names = WEIGHTS.meta["categories"]
    assert (labels[0], labels[-1]) == ("n01440764 tench", f"n15075141 {names[-1]}")
    assert [label[10:] for label in labels] == names


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("resnet1800", "did you mean resnet18"),
        ("fasterrcnn_resnet50_fpn", "there is no such model"),
        (SMALL, r"checkpoints/shufflenetv2_x0.5-f707e7126e.pth: add --download, give weights=FILE"),
        (f"{SMALL},weights=none.pt", "no file of weights at none.pt"),
    ],
)
def test_what_is_not_there_says_what_to_do(spec, words, torch_hub, info):
    with pytest.raises(UserError, match=words) as caught:
        create(f"torchvision:{spec}", info())
    assert "\n" not in str(caught.value)


def test_grey_images_are_refused(info):
    with pytest.raises(UserError, match=r"3 channels, the data have 1; channels=3 makes them"):
        create(f"torchvision:{SMALL},pretrained=false", info((1, 28, 28)))


def test_a_file_in_the_cache_is_not_unpickled(torch_hub, info, pickled):
    """The library itself would."""
    pickled(torch_hub / WEIGHTS.url.rpartition("/")[2])
    with pytest.raises(UserError, match=r"runs? code"):
        create(f"torchvision:{SMALL}", info())


def test_download_fills_the_cache_of_torch_hub(torch_hub, tmp_path, info, monkeypatch):
    """From the address of the weights, here a file; the second time it is there."""
    torch.save(made().state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(WEIGHTS.value, "url", (tmp_path / "weights.pth").as_uri())
    first = create(f"torchvision:{SMALL}", info((3, 32, 32), 2), download=True)
    (tmp_path / "weights.pth").unlink()
    torch.testing.assert_close(
        first.body.model.conv1[0].weight,
        create(f"torchvision:{SMALL}", info((3, 32, 32), 2)).body.model.conv1[0].weight,
        atol=0,
        rtol=0,
    )
    assert [path.name for path in torch_hub.iterdir()] == ["weights.pth"]


def test_a_download_with_another_content_is_refused(torch_hub, tmp_path, info, monkeypatch):
    """The name of the file has its hash."""
    path = tmp_path / "weights-0123456789.pth"
    torch.save(made().state_dict(), path)
    monkeypatch.setattr(WEIGHTS.value, "url", path.as_uri())
    with pytest.raises(UserError, match="invalid hash value"):
        create(f"torchvision:{SMALL}", info((3, 32, 32), 2), download=True)
    assert list(torch_hub.iterdir()) == []
