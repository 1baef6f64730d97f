"""Data on standard output as table, JSON or one JSON object per line; words for people on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from rekey_core.encoding import printable

Format = Literal["table", "json", "ndjson"]
Row = Mapping[str, object]  # JSON as pydantic dumps it

PIPE_WIDTH: Final = 200  # columns where there is no terminal: nothing is folded that a script would cut apart


@dataclass(frozen=True)
class View:
    """Data with its table: column titles and cells. ``lines`` come before the table."""

    data: Row | Sequence[Row]
    columns: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()


def show(view: View, how: Format) -> None:
    """Write the data to standard output."""
    if how == "json":
        sys.stdout.write(json.dumps(view.data, indent=2) + "\n")
    elif how == "ndjson":
        rows = view.data if isinstance(view.data, Sequence) else [view.data]
        sys.stdout.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        _table(view)
    sys.stdout.flush()


def tell(*lines: str) -> None:
    """Words for people, a line each: what others have written in it begins none and moves no cursor."""
    for line in lines:
        sys.stderr.write(printable(line) + "\n")
    sys.stderr.flush()


def text(value: object) -> str:
    """A value as a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "-"
    return str(value)


def when(moment: datetime | None) -> str:
    """A time in a table: UTC, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S}Z" if moment else "-"


def fields(row: Row) -> Iterable[tuple[str, str]]:
    """Name and value of each simple field."""
    for name, value in row.items():
        yield name.replace("_", " "), text(value)


def head_lines(row: Row) -> tuple[str, ...]:
    """One line for each simple field, names in a column."""
    pairs = list(fields(row))
    width = max((len(name) for name, _ in pairs), default=0)
    return tuple(f"{name:<{width}}  {value}" for name, value in pairs)


def _table(view: View) -> None:
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    with console.capture() as captured:
        for line in view.lines:
            console.print(printable(line), soft_wrap=True)
        if view.columns:
            console.print(_grid(view, boxed=console.is_terminal))
    sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())


def _grid(view: View, *, boxed: bool) -> Table:
    table = Table(box=box.SIMPLE if boxed else None, pad_edge=False)
    for column in view.columns:
        table.add_column(column, overflow="fold")
    for cells in view.cells:
        table.add_row(*map(printable, cells))
    return table
