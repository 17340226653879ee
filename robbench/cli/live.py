"""The live display of a job's progress, in the width of its terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from robbench.core.escaping import one_line
from robbench.reports.texts import shortened

NARROW = 100  # columns below which bars are half as long


class LiveDisplay(Progress):
    """A bar for a job and its parts; what is known so far has a line below the job's own bar.

    The share done and the time left are seen in full on 80 columns; the line below is cut.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(
            _text("{task.description}"),
            BarColumn(bar_width=10 if console.width < NARROW else 20),
            _text("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            _text("{task.fields[left]}"),
            _PartsNote("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
        )

    def title(self, text: str) -> str:
        """A title of one line, a long one cut in the middle to a quarter of the terminal."""
        return shortened(one_line(text), max(self.console.width // 4, 10))

    def get_renderables(self) -> Iterable[RenderableType]:
        """The job's bar, its note, and the bars of its parts."""
        job, parts = self.tasks[:1], self.tasks[1:]
        yield self.make_tasks_table(job)
        for task in job:
            if task.fields["note"]:
                yield Text(f"  {task.fields['note']}", no_wrap=True, overflow="ellipsis")
        if parts:
            yield self.make_tasks_table(parts)


def _text(template: str) -> TextColumn:
    return TextColumn(template, markup=False, table_column=Column(no_wrap=True))


class _PartsNote(TextColumn):
    """What is known of a part; of the whole job it has a line of its own."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.id else Text()
