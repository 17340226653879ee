"""Spec strings: `pgd:steps=50,rate=0.1` <-> Spec <-> canonical JSON <-> short hash.

A spec names a registered thing and sets some of its options. The part after the first colon is a
comma-separated list of `key=value`; its first item may be a bare argument (`parquet:some/dir`).
Commas inside parentheses or brackets do not split, and one pair of parentheses around a value is
dropped, so that a spec can be the value of another.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from robbench.core.errors import UserError, nearest

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Spec:
    """A parsed spec; option values are text until `build` gives them the types of the dataclass."""

    name: str
    argument: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        items = [] if self.argument is None else [self.argument]
        items += [f"{key}={_text(value)}" for key, value in self.options.items()]
        return self.name + (":" + ",".join(items) if items else "")


def parse_spec(text: str) -> Spec:
    """Parse one spec string. Raises UserError when it is empty or malformed."""
    require_plain(text)
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if not name or (colon and not rest):
        raise UserError(f"malformed spec {text!r}: write NAME or NAME:key=value,key=value")
    argument: str | None = None
    options: dict[str, str] = {}
    for position, item in enumerate(split_items(rest)) if rest else ():
        key, equals, value = item.partition("=")
        name_of_option = key.replace("-", "_")
        if item and not equals and position == 0:
            argument = item
        elif not equals or not key or not value:
            raise UserError(
                f"malformed spec {text!r}: {item!r} is not key=value; a value with commas goes in "
                "parentheses, key=(a,b)"
            )
        elif name_of_option in options:
            raise UserError(f"malformed spec {text!r}: option {key!r} is given twice")
        else:
            options[name_of_option] = value[1:-1] if _is_wrapped(value) else value
    return Spec(name, argument, options)


def require_plain(text: str) -> None:
    """Raise UserError for an endless spec, control characters and halves of surrogates."""
    if len(text) > _LONGEST:
        raise UserError(
            f"the spec {text[:40]!r}... has {len(text)} characters; {_LONGEST} are the most"
        )
    if odd := next((char for char in text if unicodedata.category(char) in ("Cc", "Cs")), None):
        raise UserError(f"malformed spec {text!r}: it holds the character {odd!r}")


def split_items(text: str, separator: str = ",") -> list[str]:
    """Split at separators outside of brackets. Raises UserError when brackets do not match."""
    items, start = [], 0
    waiting: list[str] = []  # the brackets that have to close
    for i, char in enumerate(text):
        if char in _CLOSES:
            waiting.append(_CLOSES[char])
            if len(waiting) > _DEEPEST:
                raise UserError(f"brackets are nested more than {_DEEPEST} deep in {text!r}")
        elif char in _CLOSES.values() and (not waiting or waiting.pop() != char):
            raise UserError(f"brackets do not match in {text!r}")
        elif char == separator and not waiting:
            items.append(text[start:i].strip())
            start = i + 1
    if waiting:
        raise UserError(f"brackets do not match in {text!r}")
    return [*items, text[start:].strip()]


_CLOSES = {"(": ")", "[": "]"}
_LONGEST = 10_000
_DEEPEST = 20  # attacks inside attacks: two levels have a meaning
# Of whole numbers: above a billion steps or units nothing ends, and torch's integers are finite.
_LARGEST = 2**32


def _is_wrapped(value: str) -> bool:
    """Whether one pair of parentheses surrounds the whole value: `(a=1)`, but not `(a)(b)`."""
    depths = list(itertools.accumulate((char == "(") - (char == ")") for char in value))
    return value[0] == "(" and depths[-1] == 0 and 0 not in depths[:-1]


def parse_number(value: Any) -> Any:
    """`8/255` -> 0.0313...; anything else is left to the type's own parser."""
    if not isinstance(value, str) or "/" not in value:
        return value
    numerator, _, denominator = value.partition("/")
    try:
        return float(numerator) / float(denominator)
    except (ValueError, ZeroDivisionError):
        raise ValueError("should be a number such as 0.03 or 8/255") from None


Number = Annotated[
    float, Field(allow_inf_nan=False, ge=-1e30, le=1e30), BeforeValidator(parse_number)
]
"""A finite float option that may be written as a fraction."""
Share = Annotated[Number, Field(ge=0, le=1)]
"""A number from 0 to 1."""
OrNone = BeforeValidator(
    lambda value: None if isinstance(value, str) and value.strip().lower() == "none" else value
)
"""Marks an option that may be `none`: Annotated[Annotated[Number, Field(gt=0)] | None, OrNone]."""


def build(cls: type[T], spec: Spec, what: str | None = None) -> T:
    """Make `cls` (a dataclass whose fields are its options) from a spec.

    A class that takes a bare argument names the field for it in `argument`. Raises UserError,
    naming the option and the nearest known one, when an option is unknown, missing or has a bad
    value.
    """
    what = what or spec.name
    options = dict(spec.options)
    if spec.argument is not None:
        field = getattr(cls, "argument", None)
        if field is None:
            raise UserError(
                f"{what}: '{spec.argument}' is not key=value"
                f"{nearest(spec.argument, option_names(cls))}"
            )
        if field in options:
            raise UserError(
                f"{what}: {field} is given twice, as {spec.argument!r} and as {options[field]!r}"
            )
        options[field] = spec.argument
    return validate(cls, options, what)


def validate(cls: type[T], options: Mapping[str, Any], what: str) -> T:
    """Make a dataclass from plain values, which are converted.

    Raises UserError with the name of a wrong option; `instead` of the class has what to say of
    options that users look for and that are elsewhere.
    """
    names = option_names(cls)
    for key in options:
        if key not in names and key.rpartition(":")[2] in names:
            name, text = what.rpartition(" ")[2], key[:100]
            raise UserError(
                f"{what}: options follow a comma: write {name}:{text.replace(':', ',')}=... "
                f"instead of {name}:{text}=..."
            )
        if key not in names:
            instead = getattr(cls, "instead", {}).get(key)
            raise UserError(
                f"{what}: unknown option '{key[:100]}'"
                + (instead or nearest(key, names) or "; it has none")
            )
        if isinstance(options[key], int) and abs(options[key]) >= _LARGEST:
            raise UserError(
                f"{what}: {key} should be below {_LARGEST}, not {_quoted(options[key])}"
            )
    hint: Any = cls
    try:
        built: T = _adapter(hint).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "value"
        if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
            raise UserError(f"{what}: {where} must be given") from None
        raise UserError(f"{what}: {where}={_quoted(first['input'])}: {_message(first)}") from None
    for name in names:
        if isinstance(value := getattr(built, name), int) and abs(value) >= _LARGEST:
            raise UserError(f"{what}: {name} should be below {_LARGEST}, not {_quoted(value)}")
    return built


_adapter = functools.cache(TypeAdapter)  # slow to make; the hints are few


def checked(hint: Any, value: Any, where: str) -> Any:
    """The value with the types of `hint` (a pydantic model or a type).

    Raises UserError that says where it is wrong.
    """
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise UserError(f"{where} lacks {place}") from None
        raise UserError(
            f"{where}: {place + ': ' if place else ''}{_message(first)}, "
            f"not {_quoted(first['input'])}"
        ) from None


def _message(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _quoted(value: Any) -> str:
    """A value, of a long one the beginning; Python refuses to write endless digits."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        value = ",".join(value)
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= 120 else f"{text[:100]}..."


def option_names(cls: type) -> list[str]:
    """The options of a registered class: the names of its dataclass fields."""
    return (
        [field.name for field in dataclasses.fields(cls) if field.init]
        if dataclasses.is_dataclass(cls)
        else []
    )


def options_of(built: Any) -> dict[str, Any]:
    """All options of a built object, defaults included, as plain JSON values."""
    return {
        field.name: getattr(built, field.name) for field in dataclasses.fields(built) if field.init
    }


def require_unset(built: Any, names: Iterable[str], what: str, needs: str) -> None:
    """Raise UserError for an option that differs from its default where nothing reads it.

    names: options of `built`, a dataclass. what: how messages call it; needs: the setting that
    would read them.
    """
    for field in dataclasses.fields(built):
        value = getattr(built, field.name, None)
        if field.name in names and value != field.default:
            raise UserError(f"{what}: {field.name}={value_text(value)} needs {needs}")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)


def finite(value: Any) -> Any:
    """The value with every NaN and infinity, also inside, as None: for JSON and CSV."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def short_hash(value: Any, digits: int = 12) -> str:
    """Hexadecimal hash of a plain value's canonical JSON."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()[:digits]


def value_text(value: Any) -> str:
    """An option's value as it is written in a spec: `none`, `true`, 0.5, `1,2` of a tuple."""
    if isinstance(value, tuple):
        return ",".join(map(value_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _text(value: Any) -> str:
    text = value_text(value)
    return (
        f"({text})" if any(char in text for char in ",=") or (text and _is_wrapped(text)) else text
    )
