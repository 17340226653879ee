"""The settings of `robbench attack`."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from robbench.core.config import parse_limit, parse_width
from robbench.core.limits import Limits, parse_queries, parse_time
from robbench.core.threat_text import parse_target

USUAL_ATTACK = ("apgd",)
"""Where no attack is named."""

_LONGEST = 200  # characters of a name or tag


def parse_audit(value: Any) -> int | None:
    """`300` -> 300; `none` -> None. Raises ValueError for what is no whole number above 0."""
    if value is None or value == "none":
        return None
    text = str(value).strip()
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError("should be a number of samples, 1 or more, or none for no audit")
    return int(text)


def parse_name(name: str | None) -> str | None:
    """A display name. Raises ValueError for what could be taken for a pattern, path or address."""
    if name is None:
        return None
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST:
        raise ValueError(f"a name is 1 to {_LONGEST} characters that can be printed")
    if odd := sorted(set("*?[]@/\\").intersection(name)):
        raise ValueError(
            f"a name has no {' '.join(odd)}, which patterns, checkpoints and paths have"
        )
    return name


def parse_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Tags, each once. Raises ValueError for one without text and for a key with two values."""
    keys: dict[str, str] = {}
    for tag in tags:
        key, equals, _ = tag.partition("=")
        if not key.strip() or not tag.isprintable() or len(tag) > _LONGEST:
            raise ValueError(f"a tag is KEY=VALUE or a text, 1 to {_LONGEST} characters")
        if equals and keys.setdefault(key, tag) != tag:
            raise ValueError(f"{key} has two values, {keys[key]} and {tag}")
    return tuple(dict.fromkeys(tags))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """Everything that decides an attack's verdicts, the width it runs at, and what it is called."""

    attack: Annotated[
        tuple[str, ...],
        Field(description="attacks or cascades; several make one worst case; by default apgd"),
    ] = ()
    audit: Annotated[
        int | None,
        BeforeValidator(parse_audit),
        Field(description="survivors drawn at random for the audit, such as 300"),
    ] = None
    audit_attack: Annotated[
        tuple[str, ...], Field(description="of the audit; by default autoattack")
    ] = ()
    adaptive: Annotated[
        bool, Field(description="audit all survivors where gradients look masked")
    ] = False
    threat: Annotated[tuple[str, ...], Field(description="by default the data set's")] = ()
    target: Annotated[
        str | None,
        BeforeValidator(lambda given: str(given) if type(given) is int else given),
        AfterValidator(lambda text: None if text is None else parse_target(text)),
        Field(description="class to reach, least-likely, random or column:NAME"),
    ] = None
    data: Annotated[str | None, Field(description="by default what the model was trained on")] = (
        None
    )
    split: Annotated[
        str, Field(min_length=1, description="part of the data: test, train, validation, ...")
    ] = "test"
    limit: Annotated[
        int | str | None,
        BeforeValidator(parse_limit),
        Field(description="only the first N samples, or stratified=N"),
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**32, description="of whatever is random")] = 0
    batch_size: Annotated[
        int | None,
        BeforeValidator(parse_width),
        Field(description="rows in flight; auto: by device"),
    ] = None
    precision: Annotated[
        Literal["fp32", "bf16", "fp64"],
        Field(description="of the search; successes are always confirmed in float32"),
    ] = "fp32"
    compile: Annotated[bool, Field(description="compile the model that the attacks see")] = False
    max_time: Annotated[
        float | None, BeforeValidator(parse_time), Field(description="of a run, such as 2m")
    ] = None
    max_queries: Annotated[
        int | None,
        BeforeValidator(parse_queries),
        Field(description="forwards of a sample, without re-checks, such as 5000"),
    ] = None
    store_points: Annotated[bool, Field(description="keep the worst inputs")] = False
    replay: Annotated[tuple[str, ...], Field(description="runs whose points are tried first")] = ()
    name: Annotated[
        str | None, AfterValidator(parse_name), Field(description="of the model in tables")
    ] = None
    tag: Annotated[
        tuple[str, ...],
        AfterValidator(parse_tags),
        Field(description="KEY=VALUE or a text, kept with the run"),
    ] = ()
    measure: Annotated[
        bool, Field(description="measure the runs afterwards; keeps the worst inputs")
    ] = False

    @property
    def limits(self) -> Limits:
        """Where the attack ends early."""
        return Limits(self.max_time, self.max_queries)
