"""A working copy and its address, kept alike: what is needed comes here, what is new goes there."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from robbench.core.errors import RobbenchError, RunError, UserError
from robbench.core.files import cannot_write
from robbench.core.leftovers import sweep, temporary_in
from robbench.core.lock import locked
from robbench.store.address.changes import (
    above,
    changed_files,
    is_harmless,
    is_of_another_training,
    is_removed,
    is_small_of_model,
    local_files,
)
from robbench.store.address.ledger import Ledger, Stamp, stamp_of
from robbench.store.address.place import Place

PAUSE = 3.0
"""Seconds between two looks for what is new here."""
AT_ONCE = ("results/runs", "results/baselines", "results/baseline.json", "results/sweeps")
"""What a command needs whatever it does, beside the settings and epochs of models."""
TABLES = ("runs", "samples", "points", "measures", "sample_measures", "checks")
"""Kinds of tables of a run."""


class Mirror:
    """Copies between a folder of this machine and an address; `say` hears of trouble on the way.

    A file is replaced on one side only where it is the version that the other one has replaced;
    where both have changed, the address keeps its own, and shards of a run are kept from both.
    """

    def __init__(self, place: Place, folder: Path, say: Callable[[str], None]) -> None:
        self.place, self.folder, self.say = place, folder, say
        self._ledger = Ledger(folder / ".ledger")
        self._there: dict[str, str] = {}
        self._seen: set[str] = set()  # files that were here in this session
        self._turn = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._failed = False

    def open(self) -> None:
        """Get what every command needs, and begin to follow what it writes.

        Raises as `Place`, and UserError where all that was at the address has gone.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        with self._alone():
            self._seen = {name for name in self._ledger.names() if (self.folder / name).is_file()}
            self._get_at_once()
        self._thread.start()

    def close(self) -> None:
        """Stop following, after all that is new here has gone to the address.

        Raises UserError or RunError where it cannot; it is kept, and goes with a later command.
        """
        self._ended.set()
        self._thread.join()
        self.push()

    def bring(self, *names: str) -> None:
        """Get files, and those in folders, that are missing here or newer at the address."""
        with self._alone():
            self._get(self._below(names))

    def look(self) -> None:
        """Get what every command needs of what others have put there in the meantime."""
        with self._alone():
            self._get_at_once()

    def refresh(self, *names: str) -> None:
        """As `bring`, after a look at what others have put there in the meantime."""
        with self._alone():
            for name in names:
                found = self.place.versions(name)
                if not found and (version := self.place.version(name)):
                    found = {name: version}
                for old in self._below([name]):
                    del self._there[old]
                self._there |= found
            self._get(self._below(names))
            asked = set(names)
            self._drop_removed(
                [one for one in self._ledger.names() if not asked.isdisjoint([one, *above(one)])]
            )

    def refresh_run(self, run_id: str) -> None:
        """As `refresh`, of all that is kept of a run."""
        tables = (f"results/{kind}/{run_id}.parquet" for kind in TABLES)
        self.refresh(*tables, f"results/partial/{run_id}", f"results/code/{run_id}")

    def push(self) -> None:
        """Put what is new here to the address, rows and settings last. Raises as `close`."""
        try:
            with self._alone():
                files, speaking = changed_files(self.folder, self._ledger)
                for name, stamp in files.items():
                    self._put(name, stamp)
                self._remove(is_of_another_training)
                for name, stamp in speaking.items():
                    self._put(name, stamp)
                self._remove(is_removed)
        except RobbenchError as error:
            raise type(error)(
                f"{error}. What is finished is kept in {self.folder}, and goes to the address with "
                "the next command that has this --out"
            ) from error
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def _follow(self) -> None:
        while not self._ended.wait(PAUSE):
            try:
                self.push()
                self._failed = False
            except Exception as error:  # the work goes on, and the last push reports
                if not self._failed:
                    self.say(f"{error}; trying again meanwhile")
                self._failed = True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process and thread at a time copies files of this folder."""
        lock = self.folder / ".copying"
        with self._turn, locked(lock, "the working copy", say=lambda text: None):
            sweep(self.folder)
            self._ledger.reload()
            yield

    def _get_at_once(self) -> None:
        self._there = self.place.versions()
        self._refuse_loss()
        models = [name for name in self._there if is_small_of_model(name)]
        self._get([*self._below(AT_ONCE), *models])
        self._drop_removed(self._ledger.names())

    def _below(self, names: Sequence[str]) -> list[str]:
        files = [name for name in names if name in self._there]
        folders = {
            name for name in names if name not in self._there and not name.endswith(".parquet")
        }
        if not folders:
            return files
        return files + [name for name in self._there if not folders.isdisjoint(above(name))]

    def _refuse_loss(self) -> None:
        """Not all files go here because a bucket or a mounted folder is missing there."""
        known = self._ledger.names()
        if self._there or not known or self.place.version(known[-1]) is not None:
            return
        raise UserError(
            f"nothing is left at {self.place}, and {self.folder} still has a copy of what "
            "was there: copy it back, or remove it to begin anew"
        )

    def _get(self, names: Sequence[str]) -> None:
        wanted = [name for name in names if is_harmless(name) and self._is_wanted(name)]
        if not wanted:
            return
        for row in wanted:
            if row.startswith("results/runs/"):  # finished by another: shards here are of no use
                shards = self.folder / "results" / "partial" / PurePosixPath(row).stem
                shutil.rmtree(shards, ignore_errors=True)
        aside = temporary_in(self.folder)
        targets = [aside / name for name in wanted]
        try:
            self._fetch(wanted, targets)
            # Rows last: what they speak of is here then.
            for name, file in sorted(
                zip(wanted, targets, strict=True), key=lambda pair: "results/runs/" in pair[0]
            ):
                if file.exists():
                    path = self.folder / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(path)
                    self._agree(name, stamp_of(path), self._there[name])
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _fetch(self, names: Sequence[str], targets: Sequence[Path]) -> None:
        """Copy files here, but those that others have removed since one looked."""
        try:
            self.place.get(names, targets)
        except UserError:
            left = [
                pair for pair in zip(names, targets, strict=True) if self.place.version(pair[0])
            ]
            if len(left) == len(names):
                raise
            for target in targets:
                target.unlink(missing_ok=True)
            if left:
                self._fetch(*zip(*left, strict=True))

    def _drop_removed(self, names: Sequence[str]) -> None:
        """Remove here, of what was looked for there just now, what others have removed there.

        A file that has changed here since then stays.
        """
        for name in names:
            # A listing may be late.
            if name not in self._there and self.place.version(name) is None:
                if stamp_of(self.folder / name) == self._ledger[name][0]:
                    (self.folder / name).unlink()
                self._seen.discard(name)
                self._ledger.forget(name)

    def _is_wanted(self, name: str) -> bool:
        """Whether the version at the address should come here."""
        here, (stamp, version) = stamp_of(self.folder / name), self._ledger[name]
        if here is None or (here == stamp and version != self._there[name]):
            return True
        return version != self._there[name] and not self._is_same(name, here)

    def _is_same(self, name: str, here: Stamp) -> bool:
        """Whether a file that has changed on both sides has one content.

        Of two shards of a run, the one here gets another name.
        """
        path, other = self.folder / name, temporary_in(self.folder)
        try:
            self.place.get([name], [other])
            if filecmp.cmp(path, other, shallow=False):
                self._agree(name, here, self._there[name])
                return True
            if name.startswith("results/partial/") and path.suffix == ".parquet":
                mark = hashlib.blake2b(path.read_bytes(), digest_size=4).hexdigest()
                path.rename(path.with_name(f"{path.stem}-{mark}{path.suffix}"))
            return False
        finally:
            other.unlink(missing_ok=True)

    def _agree(self, name: str, stamp: Stamp | None, version: str) -> None:
        self._there[name] = version
        if stamp is not None:
            self._seen.add(name)
            self._ledger.note(name, stamp, version)

    def _put(self, name: str, stamp: Stamp) -> None:
        """Put a file that has this stamp; one that was replaced since then waits for its turn."""
        _, known = self._ledger[name]
        found = self.place.version(name)
        if found != known and found is not None:
            self._there[name] = found
            self._get([name])  # another machine's
            return
        aside = temporary_in(self.folder)
        try:
            try:
                os.link(self.folder / name, aside)  # as it is now, while others replace it
            except FileNotFoundError:
                return
            except OSError:
                shutil.copy2(self.folder / name, aside)
            if stamp_of(aside) != stamp:
                return
            self.place.put(aside, name)
            version = self.place.version(name)
            if version is None:
                raise RunError(f"{self.place}/{name} was put, and is not there")
            self._agree(name, stamp, version)
        finally:
            aside.unlink(missing_ok=True)

    def _remove(self, gone: Callable[[str, Mapping[str, Stamp], Ledger], bool]) -> None:
        """Remove at the address what a command has removed here, as far as it is `gone`."""
        here = local_files(self.folder)
        self._seen |= here.keys()
        for name in sorted(self._seen - here.keys()):
            if gone(name, here, self._ledger):
                _, version = self._ledger[name]
                if version is not None and self.place.version(name) == version:
                    self.place.remove(name)
                self._seen.discard(name)
                self._there.pop(name, None)
                if version is not None:
                    self._ledger.forget(name)
