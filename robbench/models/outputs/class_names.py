"""Which output of a model is which class of the data, by WordNet id or by name."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.core.errors import UserError

_WORDNET = re.compile(r"n\d{8}")
_GENERIC = re.compile(r"(?:label|class)[ _-]?\d+", re.IGNORECASE)
_NUMBERED = re.compile(r"(\d{1,6})\s*[:,\s]\s*(\S.*)")
_LARGEST = 64 * 2**20  # bytes of a file of names
_SHOWN = 5


def known(labels: Sequence[str]) -> bool:
    """Whether labels mean something: `LABEL_0`, which libraries make up, does not."""
    return bool(labels) and not all(_GENERIC.fullmatch(label) for label in labels)


def read_labels(given: str | Sequence[str]) -> tuple[str, ...]:
    """The class of each output, in order: a list, `cat,dog`, or the name of a file.

    A file has a line for each output: `name`, `index name` or `n01440764 name`; or it is JSON: a
    list, or an object from index to name or to a list such as ["n01440764", "tench"]. Raises
    UserError where it is something else.
    """
    if not isinstance(given, str):
        return tuple(given)
    path = Path(given)
    if path.is_file():
        try:
            if path.stat().st_size > _LARGEST:
                raise UserError(f"classes={given}: the file is too large for a list of names")
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"classes={given}: no readable text ({error})") from None
        try:
            return _from_json(text) if text.lstrip()[:1] in ("{", "[") else _from_lines(text)
        except UserError as error:
            raise UserError(f"classes={given}: {error}") from None
    if "," not in given:
        raise UserError(
            f"classes={given}: no such file; give a file with the class of each output, or their "
            "names, classes=(cat,dog)"
        )
    return tuple(name.strip() for name in given.split(","))


def _from_json(text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"no JSON ({error})") from None
    if isinstance(found, Mapping):
        if not all(key.isdecimal() for key in found):
            raise UserError('the keys should be numbers of outputs, {"0": "tench", ...}')
        return _in_order({int(key): _name(value) for key, value in found.items()}, len(found))
    return tuple(map(_name, found))


def _name(value: Any) -> str:
    """A name, or the names of a list, separated by commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    raise UserError(f"{value!r} is no name of a class")


def _from_lines(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError("the file is empty")
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    if not all(matches):
        return tuple(lines)
    return _in_order({int(match[1]): match[2] for match in matches if match}, len(lines))


def _in_order(names: Mapping[int, str], count: int) -> tuple[str, ...]:
    if sorted(names) != list(range(count)):
        raise UserError(f"its {count} classes should be numbered 0 to {count - 1}, each once")
    return tuple(names[i] for i in range(count))


def match(names: Sequence[str], labels: Sequence[str]) -> tuple[int, ...]:
    """The output of each class of the data; both may be WordNet ids, names or both.

    Names are equal but for case and underscores; commas separate synonyms. Raises UserError, with
    the classes, where one has no output or several, or shares it.
    """
    places: dict[str, list[int]] = {}
    for output, label in enumerate(labels):
        for key in _keys(label):
            places.setdefault(key, []).append(output)
    found = [_outputs(name, places) for name in names]
    missing = [name for name, outputs in zip(names, found, strict=True) if not outputs]
    several = [
        f"{name} (outputs {', '.join(map(str, outputs[:_SHOWN]))})"
        for name, outputs in zip(names, found, strict=True)
        if len(outputs) > 1
    ]
    firsts = [outputs[0] for outputs in found if len(outputs) == 1]
    counts = Counter(firsts)
    shared = [
        f"{name} (output {outputs[0]})"
        for name, outputs in zip(names, found, strict=True)
        if len(outputs) == 1 and counts[outputs[0]] > 1
    ]
    wrong = [
        f"{what} {_listed(which)}"
        for what, which in (
            ("no output is", missing),
            ("several outputs are", several),
            ("one output is more than one class:", shared),
        )
        if which
    ]
    if wrong:
        raise UserError("; ".join(wrong))
    return tuple(firsts)


def _outputs(name: str, places: Mapping[str, Sequence[int]]) -> list[int]:
    """All outputs of a class. An id is certain where names are not: there are two cranes."""
    keys = _keys(name)
    ids = {key for key in keys if _WORDNET.fullmatch(key)}
    if ids and any(_WORDNET.fullmatch(key) for key in places):
        keys = ids
    return sorted({output for key in keys for output in places.get(key, ())})


def _keys(name: str) -> set[str]:
    """What a name can be found by: its WordNet ids, the whole of it, and its synonyms."""
    ids = set(_WORDNET.findall(name))
    rest = _WORDNET.sub(" ", name).strip(" ,:\t")
    return ids | ({_folded(rest), *map(_folded, rest.split(","))} - {""})


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
