"""Working copies: output folders of this machine that stand for an address during a command."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from robbench.core.config import process_number
from robbench.core.errors import UserError
from robbench.core.escaping import without_password
from robbench.store.address.lock import locked_at
from robbench.store.address.mirror import TABLES, Mirror
from robbench.store.address.place import Place
from robbench.store.locations import Location, is_address, sibling_table

_open: dict[Path, tuple[Mirror, int]] = {}  # with how many use it
_turn = threading.Lock()


@contextlib.contextmanager
def working_copy(out: Path | str, say: Callable[[str], None]) -> Iterator[Path]:
    """An output folder for the time of a block: that of a path, of an address a copy of this user.

    What the copy needs comes from the address, and what is written goes there while the block runs
    and at its end, also of a block that fails. `say` hears where it cannot yet. Raises UserError
    for an address that cannot be used, RunError where it does not answer.
    """
    if isinstance(out, Path) or not is_address(out):
        yield Path(out)
        return
    folder = copy_of(out)
    _opened(folder, out, say)
    try:
        yield folder
    except BaseException as error:
        if isinstance(error, UserError):  # the user knows the address
            error.args = (str(error).replace(str(folder), without_password(out.rstrip("/"))),)
        try:
            _closed(folder)
        except Exception as second:  # the first error is the one to report
            if str(second) != str(error):
                say(str(second))
        raise
    _closed(folder)


def copy_of(address: str) -> Path:
    """The folder of the working copy: in ROBBENCH_COPIES, else in the user's cache."""
    import platformdirs

    root = os.environ.get("ROBBENCH_COPIES") or f"{platformdirs.user_cache_dir('robbench')}/copies"
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", without_password(address)).strip("-")[:60]
    mark = hashlib.blake2b(address.rstrip("/").encode(), digest_size=6).hexdigest()
    return Path(root).expanduser().absolute() / f"{readable}-{mark}"


def mirror_of(path: Path) -> Mirror | None:
    """The mirror of the working copy that a path is in; None where it is in none."""
    found = (mirror for folder, (mirror, _) in _open.items() if path.is_relative_to(folder))
    return next(found, None)


def bring(*paths: Location) -> None:
    """Get files and folders of a working copy from its address, if they are there."""
    for mirror, _ in list(_open.values()):
        mine = (p for p in paths if isinstance(p, Path) and p.is_relative_to(mirror.folder))
        if names := [path.relative_to(mirror.folder).as_posix() for path in mine]:
            mirror.bring(*names)


def bring_runs(runs: Sequence[Location], *, points: bool = False) -> None:
    """As `bring`, the tables of runs, given their runs files; their points only if asked for."""
    kinds = [kind for kind in TABLES if points or kind != "points"]
    bring(*(sibling_table(run, kind) for run in runs for kind in kinds))


def shown(path: Location) -> str:
    """A path as the user knows it: of a working copy the address, without its password."""
    if not isinstance(path, Path) or (mirror := mirror_of(path)) is None:
        return str(path)
    inside = path.relative_to(mirror.folder).as_posix()
    return str(mirror.place) if inside == "." else f"{mirror.place}/{inside}"


@contextlib.contextmanager
def owned_at_address(
    path: Path,
    what: str,
    *,
    runs: Sequence[str] = (),
    say: Callable[[str], None],
    asked_to_stop: Callable[[], None] = lambda: None,
    shared: bool = False,
) -> Iterator[None]:
    """Own what the lock `path` of a working copy is for, at its address too.

    What others have left there of `runs`, or else in the folder that the lock is named after, is
    here then; what was written is there when the lock goes. Does nothing for other folders; those
    who work on it `shared` need no lock there, as what they write has names of its own.
    """
    if (mirror := mirror_of(path)) is None:
        yield
        return
    name = f"results/locks/{path.name}"  # in a folder that is quickly listed
    with contextlib.ExitStack() as stack:
        if not shared:
            stack.enter_context(
                locked_at(mirror.place, name, what, say=say, asked_to_stop=asked_to_stop)
            )
        for run_id in runs:
            mirror.refresh_run(run_id)
        if not runs:
            folder = path.with_name(path.name.removeprefix(".").removesuffix(".lock"))
            mirror.refresh(folder.relative_to(mirror.folder).as_posix())
        yield
        mirror.push()


def _opened(folder: Path, address: str, say: Callable[[str], None]) -> None:
    with _turn:
        mirror, users = _open.get(folder, (None, 0))
        if mirror is None:
            if process_number("WORLD_SIZE", 1) > 1:
                raise UserError(
                    f"--out {address}: training in several processes writes to a folder that they "
                    "share; give one, and copy it to the address afterwards"
                )
            mirror = Mirror(Place(address), folder, say)
            mirror.open()
        _open[folder] = mirror, users + 1


def _closed(folder: Path) -> None:
    with _turn:
        mirror, users = _open[folder]
        if users > 1:
            _open[folder] = mirror, users - 1
        else:
            del _open[folder]
    if users > 1:
        mirror.push()
    else:
        mirror.close()
