"""A section and its metadata put into the README.md of a model; all else stays as it was.

The front matter is found as the Hugging Face Hub finds it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import yaml

from robbench.core.errors import UserError
from robbench.reports.card.markdown import BEGIN, END, MARK

_FRONT = re.compile(r"(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|$))")
_COMMENT = re.compile(r"[ \t]+#[^\r\n]*")
_KEY = "model-index"
_BOM = "\ufeff"


def into_readme(
    text: str, section: str, results: Sequence[Mapping[str, Any]], model: str, where: str
) -> str:
    """A README with our section and results in place of earlier ones, or behind what is there.

    Of the front matter only `model-index` is written anew: results of others in it are kept. model:
    its name, where the index has none. Raises UserError, beginning with `where`, for front matter
    or markers that are broken.
    """
    bom, text = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    line = "\r\n" if "\r\n" in text else "\n"
    if front := _FRONT.match(text):
        head, block, tail, body = *front.groups(), text[front.end() :]
        tail += "" if tail.endswith("\n") else line  # front matter that ends the file
    elif text.lstrip().startswith("---"):
        raise UserError(f"{where}: its front matter is empty or never ends: close it with ---")
    else:
        head, block, tail, body = f"---{line}", "", f"{line}---{line}{line}", text
    block = _with_results(block, results, model, line, where)
    body = _with_section(body, section.replace("\n", line), line, where)
    return f"{bom}{head}{block}{tail}{body}"


def _with_section(body: str, section: str, line: str, where: str) -> str:
    counts = body.count(BEGIN), body.count(END)
    if counts == (0, 0):
        gap = "" if not body.strip() else line if body.endswith(("\n", "\r")) else 2 * line
        return f"{body}{gap}{section}"
    start, end = body.find(BEGIN), body.find(END) + len(END)
    if counts != (1, 1) or start > end:
        raise UserError(
            f"{where}: the comments {BEGIN} and {END} should be there once, in this order; remove "
            "what is left of an earlier section"
        )
    return f"{body[:start]}{section.rstrip()}{body[end:]}"


def _with_results(
    block: str, results: Sequence[Mapping[str, Any]], model: str, line: str, where: str
) -> str:
    """The front matter, between its marks, with the results in its model-index."""
    old = _parsed(block + line, where)  # a literal text has the end of its last line
    index = _index(old.get(_KEY), results, model, where)
    text = yaml.safe_dump({_KEY: index}, sort_keys=False, allow_unicode=True, width=10_000)
    text = text.rstrip("\n").replace("\n", line)
    start, end = _span(block)
    if end:
        new = f"{block[:start]}{text}{block[end:]}"
    else:
        new = f"{block}{line}{text}" if block else text
    # As texts, because NaN is not equal to itself.
    if repr(_parsed(new + line, where)) != repr({**old, _KEY: index}):
        _refuse(where, "write it one key a line, without braces")
    return new


def _index(
    old: Any, results: Sequence[Mapping[str, Any]], model: str, where: str
) -> list[dict[str, Any]]:
    """A model-index without our earlier results and with these.

    At the entry of the model's name, or else the first.
    """
    if old is None or old == []:
        return [{"name": model, "results": list(results)}]
    entries: list[Any] = old if isinstance(old, list) else [None]
    if not all(
        isinstance(entry, dict) and "name" in entry and isinstance(entry.get("results"), list)
        for entry in entries
    ):
        _refuse(where, f"{_KEY} should be a list of models, each with name and results")
    kept = [
        {**entry, "results": [each for each in entry["results"] if not _is_ours(each)]}
        for entry in entries
    ]
    own = next((entry for entry in kept if entry["name"] == model), kept[0])
    own["results"] += results
    return kept


def _is_ours(result: Any) -> bool:
    metrics = result.get("metrics") if isinstance(result, dict) else None
    if not isinstance(metrics, list) or not metrics:
        return False
    args = [metric.get("args") if isinstance(metric, dict) else None for metric in metrics]
    return all(isinstance(each, dict) and MARK in each for each in args)


def _span(block: str) -> tuple[int, int]:
    """From where to where the model-index is; (0, 0) where there is none."""
    node = yaml.compose(block, Loader=yaml.SafeLoader)
    for key, value in node.value if node else ():
        if key.value == _KEY:
            start = key.start_mark.index
            lines = block[start : value.end_mark.index].splitlines(keepends=True)
            # Comments and empty lines behind it belong to what comes next.
            while not lines[-1].strip() or lines[-1].lstrip().startswith("#"):
                lines.pop()
            end = start + len("".join(lines).rstrip("\r\n"))
            comment = _COMMENT.match(block, end)
            return start, comment.end() if comment else end
    return 0, 0


def _parsed(block: str, where: str) -> dict[str, Any]:
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(block)):
            _refuse(where, "it has YAML aliases, which cannot be kept: write them out")
        node = yaml.compose(block, Loader=yaml.SafeLoader)
        found = yaml.safe_load(block)
    except yaml.MarkedYAMLError as error:
        at = f"line {error.problem_mark.line + 2}: " if error.problem_mark else ""
        _refuse(where, f"{at}{error.problem}")
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        _refuse(where, " ".join(str(error).split())[:200])
    if found is None:
        return {}
    if not isinstance(found, dict):
        _refuse(where, "it should be keys with values")
    names = [key.value for key, _ in node.value if isinstance(key.value, str)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        _refuse(where, f"{twice[0]} is there twice")
    return found


def _refuse(where: str, why: str) -> NoReturn:
    raise UserError(f"{where}: its front matter (YAML between ---) cannot be merged: {why}")
