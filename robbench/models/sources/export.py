"""Models saved by `torch.export.save`, `.pt2`.

Such an archive is a graph of operators in JSON and raw weights. `torch.export.load` also unpickles
what the archive says is pickled (example inputs, custom objects), evaluates its size expressions,
looks up operators by name and writes names into Python source. `require_plain` refuses, before
torch sees it, an archive in which that could run code.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.export.pt2_archive._package import load_pt2

from robbench.core.errors import UserError
from robbench.models.base import Loading
from robbench.models.sources.base import Loaded
from robbench.models.sources.program_file import ProgramFile, Shape, fixed_batch

_OPERATOR = re.compile(
    r"torch\.ops\.(?:aten\.(?!from_file)|prims\.|quantized_decomposed\.|torchvision\.)[\w.]+"
    r"|torch\.ops\.higher_order\.(?:cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(?:getitem|add|sub|mul|neg|pow|mod|floordiv|truediv|and_|or_|not_|eq|ne|lt|le"
    r"|gt|ge)"
    r"|torch\.sym_\w+|math\.\w+"
)
# An expression of sizes: symbols such as 's31', numbers, and classes of sympy, which begin with a
# capital. Python's own functions do not.
_EXPRESSION = re.compile(
    r"(?:'[a-z]+\d+'|[a-z]+\d+\b|[A-Z]\w*|int_oo|oo|(?:positive|nonnegative|integer|real)=|[\d.]+"
    r"|[\s+\-*/%(),<>=!&|~])*"
)
# Names become Python source, as `self.conv.weight`. Of modules there are `conv@1` and `<lambda>`.
_NAME = re.compile(r"[\w.@<>+ -]*")
_NO_NAMES = ("metadata", "as_string", "as_strings", "guards_code")  # not run, or only as a value
_RECORD = re.compile(
    r"models/model\.json|data/weights/(?:model_weights_config\.json|model\.pt|weight_\d+)"
    r"|data/constants/(?:model_constants_config\.json|model\.pt|tensor_\d+)"
    r"|data/sample_inputs/model\.pt|archive_format|archive_version|version|byteorder"
    r"|\.data/\w+|extra/.*"
)
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")


@dataclass(frozen=True, kw_only=True)
class Export(ProgramFile):
    """A program of torch.export (`.pt2`, written by torch 2.9 or newer); with gradients.

    Pickled objects inside, custom operators and custom classes are refused.
    """

    def load(self, loading: Loading) -> Loaded:
        """The program's module. UserError where the file is none, or does not fit the data."""
        content = self.read()
        try:
            require_plain(content)
            # Not torch.export.load: where this fails, that reads the file as an older format.
            program = load_pt2(io.BytesIO(content)).exported_programs["model"]
            module = program.module(check_guards=False)  # guards are Python source
        except UserError as error:
            raise self.refuse(f"is not loaded: {error}") from None
        except Exception as error:  # whatever a malformed graph leads to
            first = str(error).strip().partition(". ")[0].partition("\n")[0]
            raise self.refuse(
                f"is no whole program of torch.export ({first}): copy or save it again"
            ) from None
        shapes = list(_input_shapes(program))
        if len(shapes) != 1:
            raise self.refuse(f"has {len(shapes)} inputs; a classifier has one, the images")
        return Loaded(module, batch=fixed_batch(shapes[0], loading.info, self.file))


def _input_shapes(program: torch.export.ExportedProgram) -> Iterator[Shape]:
    names = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            sizes = getattr(node.meta.get("val"), "shape", ())
            yield [size if isinstance(size, int) else None for size in sizes]


def require_plain(content: bytes) -> None:
    """Raise UserError for a `.pt2` archive in which reading could run code.

    RuntimeError or ValueError where it is no such archive.
    """
    archive = torch._C.PyTorchFileReader(io.BytesIO(content))
    names = archive.get_all_records()
    if "models/model.json" not in names:
        raise UserError("it has no models/model.json: export it with torch 2.9 or newer")
    for name in names:
        if not _RECORD.fullmatch(name):  # such as libraries of compiled code, or custom objects
            raise UserError(f"it holds {name}, which may be code")
        if name.endswith(".json"):
            for path in _pickles(json.loads(archive.get_record(name))):
                record = f"{name.rpartition('/')[0]}/{path}"
                if record not in names:  # torch finds records in another case too
                    raise UserError(f"it has no record {record!r}, which {name} names")
                _require_weights_only(archive.get_record(record), record)
        elif name.endswith(".pt"):
            _require_weights_only(archive.get_record(name), name)


def _require_weights_only(content: bytes, name: str) -> None:
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:
        raise UserError(f"{name} in it is a pickle of more than tensors") from error


def _pickles(value: Any) -> Iterator[str]:
    """The files that a JSON value says are pickled; UserError for what may run code."""
    if isinstance(value, str):
        _require_name(value)
    if isinstance(value, list):
        for item in value:
            yield from _pickles(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        _require_name(key)
        if key in _NO_NAMES:
            continue
        if key in ("target", "as_operator") and isinstance(item, str):
            if not _OPERATOR.fullmatch(item):
                raise UserError(f"it names the operator {item[:80]!r}, which is none of torch's")
        elif key == "expr_str":
            if not (isinstance(item, str) and _EXPRESSION.fullmatch(item)):
                raise UserError(f"it has the size {str(item)[:80]!r}, which is no plain expression")
        elif key in ("in_spec", "out_spec"):
            _require_containers(json.loads(item)[1])
        elif key == "use_pickle" and item:
            yield value["path_name"]
        else:
            yield from _pickles(item)


def _require_name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise UserError(f"it has the name {text[:80]!r}, which may be code")


def _require_containers(spec: Any) -> None:
    """Inputs and outputs are in tuples, lists and dicts: other containers are imported by name."""
    context = json.loads(spec["context"] or "null")
    plain = context is None or (
        isinstance(context, list) and all(isinstance(key, str | int) for key in context)
    )
    if spec["type"] not in _CONTAINERS or not plain:
        raise UserError(
            f"it passes a {spec['type']}; export a model that takes a tensor and returns one"
        )
    for child in spec["children_spec"]:
        _require_containers(child)
    for key in context or ():
        _require_name(str(key))
