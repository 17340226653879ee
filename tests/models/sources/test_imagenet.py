"""The ids of ImageNet's classes go to names that are ImageNet's."""

from robbench.models.sources.imagenet import imagenet_ids, with_ids


def test_ids_are_sorted_and_known_ones_have_their_places():
    """As in every model's outputs: 207 is the golden retriever, 999 toilet paper."""
    ids = imagenet_ids()
    assert len(set(ids)) == 1000
    assert list(ids) == sorted(ids)
    assert (ids[0], ids[207], ids[999]) == ("n01440764", "n02099601", "n15075141")


def test_only_the_names_of_imagenet_get_ids():
    names = ["tench, Tinca tinca", *map(str, range(998)), "toilet tissue"]
    assert with_ids(names)[0] == "n01440764 tench, Tinca tinca"
    assert with_ids(names)[999] == "n15075141 toilet tissue"
    for others in (names[:-1], names[::-1], ["cat", "dog"], []):
        assert with_ids(others) == tuple(others)
