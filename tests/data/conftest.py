"""Small data sets written by the tests themselves, and the folder of real ones."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def png() -> Callable[[np.ndarray], bytes]:
    """PNG bytes of [H,W] or [H,W,3] uint8 pixels."""
    return _png


@pytest.fixture
def write_parquet() -> Callable[..., None]:
    """Writes images (encoded bytes) and labels as Hugging Face does."""

    def write(
        path: Path,
        images: Sequence[Any],
        labels: Sequence[int],
        *,
        names: Sequence[str] | None = None,
        image: str = "image",
        label: str = "label",
        plain: bool = False,
        rows_per_group: int = 3,
    ) -> None:
        cells = (
            images
            if plain
            else [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(images)]
        )
        kind = pa.binary() if plain else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({image: pa.array(cells, kind), label: pa.array(labels, pa.int64())})
        if names is not None:
            features = {
                image: {"_type": "Image"},
                label: {"names": list(names), "_type": "ClassLabel"},
            }
            table = table.replace_schema_metadata(
                {"huggingface": json.dumps({"info": {"features": features}})}
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=rows_per_group)

    return write


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets; skips where there is none."""
    folder = os.environ.get("ROBBENCH_DATA_DIR")
    if not folder or not (Path(folder) / "cifar10" / "test.parquet").exists():
        pytest.skip("ROBBENCH_DATA_DIR does not name a folder with cifar10/test.parquet")
    return Path(folder)
