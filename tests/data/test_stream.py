"""Large splits: decoded when they are asked for, with the same result and in bounded memory."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import robbench
from robbench.core.errors import UserError
from robbench.data import load as load_module
from robbench.data import stream as stream_module
from robbench.data.base import Split
from robbench.data.load import load
from robbench.data.loader import DeviceLoader
from robbench.data.stream import Decoder, StreamedImages

Png = Callable[[np.ndarray], bytes]
Write = Callable[..., None]
PIXELS = np.random.default_rng(5).integers(0, 256, (14, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, every lazy split is streamed, in blocks of three small images."""

    def begin() -> None:
        monkeypatch.setattr(load_module, "STREAM_BYTES", 0)
        monkeypatch.setattr(stream_module, "BLOCK_BYTES", 3 * PIXELS[0].size)
        monkeypatch.setattr(stream_module, "CACHE_BYTES", 7 * PIXELS[0].size)

    return begin


def _folder(root: Path, png: Png) -> None:
    for n, pixels in enumerate(PIXELS):
        # Image 4 is there twice; grey ones are among coloured ones.
        shown = PIXELS[4] if n == 6 else pixels[..., 0] if n % 4 == 1 else pixels
        path = root / "set" / "test" / "ab"[n // 7] / f"{n:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(shown))


def _both(spec: str, root: Path, streams: Callable[[], None]) -> tuple[Split, Split]:
    held = load(spec, "test", data_dir=root)
    streams()
    return held, load(spec, "test", data_dir=root)


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_streamed_split_is_the_split(
    kind: str, tmp_path: Path, png: Png, write_parquet: Write, streams: Callable[[], None]
) -> None:
    """Ids, pixels at any index, parts and moments equal those of the split in memory."""
    if kind == "folder":
        _folder(tmp_path, png)
    else:
        images = [png(x[..., 0] if n % 4 == 1 else x) for n, x in enumerate(PIXELS)]
        write_parquet(tmp_path / "set/test.parquet", images, [n % 3 for n in range(14)])
    held, streamed = _both(f"{kind}:set[stratified=12]", tmp_path, streams)
    assert isinstance(held.images, torch.Tensor)
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.ids.tolist() == held.ids.tolist()
    assert streamed.images.shape == held.images.shape
    for index in (slice(None), slice(2, 9, 3), torch.tensor([11, 0, 0, 7]), held.labels == 1):
        assert torch.equal(streamed.pixels(index), held.pixels(index))
    order = torch.arange(11, -1, -1)
    part = streamed.take(order).take(torch.tensor([1, 3])).to(torch.device("cpu"))
    assert torch.equal(part.pixels(slice(None)), held.pixels(torch.tensor([10, 8])))
    assert streamed.info().mean == pytest.approx(held.info().mean, rel=1e-6)
    assert streamed.info().std == pytest.approx(held.info().std, rel=1e-6)


def test_batches_of_a_streamed_split(tmp_path: Path, png: Png, streams: Callable[[], None]) -> None:
    """Training sees the same batches, augmented alike."""
    _folder(tmp_path, png)
    held, streamed = (
        [batch for n in range(2) for batch in DeviceLoader(s, 4, seed=3, augment="crop").epoch(n)]
        for s in _both("folder:set", tmp_path, streams)
    )
    assert len(streamed) == 8
    for one, other in zip(held, streamed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_verdicts_of_a_streamed_split(
    tmp_path: Path, png: Png, streams: Callable[[], None]
) -> None:
    """An attack on a streamed folder has the run id and the rows of one in memory."""
    _folder(tmp_path, png)
    found = []
    for where in ("held", "streamed"):
        if where == "streamed":
            streams()
        (run,) = robbench.attack(
            "small-cnn",
            data="folder:set",
            attack=["pgd:steps=3", "apgd:steps=3,objective=dlr-targeted"],
            threat="linf:0.01,0.02",
            data_dir=tmp_path,
            out=tmp_path / where,
            batch_size=4,
        )[:1]
        found.append((run.info["run_id"], run.samples))
    assert found[0][0] == found[1][0]
    assert found[0][1].equals(found[1][1])
    assert _threads_end()


def _threads_end() -> bool:
    found = [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    for thread in found:
        thread.join(timeout=20)
    return not any(thread.is_alive() for thread in found)


def test_a_colour_image_after_many_grey_ones(
    tmp_path: Path, write_parquet: Write, png: Png, streams: Callable[[], None]
) -> None:
    """Where the headers looked at are grey and a later image is not, all have three channels."""
    images = [
        png(x if n == 120 else x[..., 0]) for n, x in enumerate(np.resize(PIXELS, (250, 8, 8, 3)))
    ]
    write_parquet(
        tmp_path / "set/test.parquet", images, [n % 2 for n in range(250)], rows_per_group=250
    )
    held, streamed = _both("parquet:set", tmp_path, streams)
    assert streamed.images.shape == held.images.shape == (250, 3, 8, 8)
    assert streamed.ids.tolist() == held.ids.tolist()


def test_sizes_that_differ_name_two_files(
    tmp_path: Path, png: Png, streams: Callable[[], None]
) -> None:
    """Also where the two are decoded at different times."""
    _folder(tmp_path, png)
    (tmp_path / "set/test/b/13.png").write_bytes(png(PIXELS[0, :6]))
    (tmp_path / "set/test/b/12.png").unlink()  # so that 13 is alone in its block
    streams()
    with pytest.raises(UserError, match=r"differ in size: 8x8 \(.*00\.png\) and 8x6 \(.*13\.png\)"):
        load("folder:set", "test", data_dir=tmp_path)


def test_a_file_that_breaks_later(tmp_path: Path, png: Png, streams: Callable[[], None]) -> None:
    """What the thread that decodes ahead comes to is told where the image is due."""
    _folder(tmp_path, png)
    streams()
    split = load("folder:set", "test", data_dir=tmp_path)
    (tmp_path / "set/test/a/00.png").write_bytes(b"broken")
    split.ahead(slice(0, 2))
    with pytest.raises(UserError, match=r"folder:set, test split: .*00\.png: not a readable image"):
        split.pixels(slice(0, 2))


def test_an_image_that_changes_later_is_refused(
    tmp_path: Path, png: Png, streams: Callable[[], None]
) -> None:
    """Its sample id is that of what it was before."""
    _folder(tmp_path, png)
    streams()
    split = load("folder:set", "test", data_dir=tmp_path)
    (tmp_path / "set" / "test" / "a" / "00.png").write_bytes(png(PIXELS[1]))
    assert torch.equal(split.images[8:], load("folder:set", "test", data_dir=tmp_path).images[8:])
    with pytest.raises(UserError, match="image 0 of the data has changed since it was first read"):
        split.pixels(slice(0, 1))


def _images(n: int, decoded: list[int] | None = None) -> StreamedImages:
    """N images that show their numbers; `decoded`: what is decoded, as it happens."""

    def decode(rows: np.ndarray) -> np.ndarray:
        if decoded is not None:
            decoded.extend(rows.tolist())
        shown = (rows % 256).astype(np.uint8)[:, None, None, None]
        return np.repeat(np.repeat(np.repeat(shown, 3, 1), 16, 2), 16, 3)

    return StreamedImages(Decoder(decode, (3, 16, 16), np.uint8, 0), np.arange(n))


def test_memory_does_not_grow_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over ten times as many images, of which few are kept, needs no more memory."""
    monkeypatch.setattr(stream_module, "BLOCK_BYTES", 8 * 768)
    monkeypatch.setattr(stream_module, "CACHE_BYTES", 32 * 768)
    peaks = []
    for n in (20, 300, 3000):  # the first warms up
        images = _images(n)
        tracemalloc.start()
        assert sum(int(image[2, 15, 15]) for image in images.each()) == sum(
            i % 256 for i in range(n)
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < min(1.3 * peaks[1], 200 * 768)


def test_images_decoded_ahead_are_decoded_once() -> None:
    """What was hinted at, and what was asked for lately, is not decoded again."""
    decoded: list[int] = []
    images = _images(50, decoded)
    images.ahead(slice(10, 20))
    assert images[torch.arange(12, 18)][:, 0, 0, 0].tolist() == list(range(12, 18))
    assert images[slice(10, 22)][:, 2, 15, 15].tolist() == list(range(10, 22))
    assert sorted(decoded) == list(range(10, 22))
    assert _threads_end()


def test_a_long_pass_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At ever longer intervals."""
    seconds = iter(range(100))
    monkeypatch.setattr(stream_module.time, "monotonic", lambda: float(next(seconds)))
    with caplog.at_level("INFO", "robbench"):
        assert list(stream_module.logged([np.zeros(1)] * 40, 40)) == [0] * 40
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(", about")[0] for line in said] == [
        "reading images: 6 of 40",
        "reading images: 13 of 40",
        "reading images: 27 of 40",
    ]


def test_a_streamed_split_that_private_code_returns_stays_streamed(
    tmp_path: Path, png: Png, streams: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that loads a large folder must not hold all of its images at once."""
    _folder(tmp_path, png)
    code = "from pathlib import Path\nfrom robbench.data.load import load\n\n"
    code += "def make(split):\n    return load('folder:set', split, data_dir=Path())\n"
    (tmp_path / "my_streamed.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    held = load("my_streamed:make", "test")
    streams()
    streamed = load("my_streamed:make", "test")
    assert isinstance(held.images, torch.Tensor)
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.ids.tolist() == held.ids.tolist()
    assert torch.equal(streamed.pixels(slice(None)), held.pixels(slice(None)))
