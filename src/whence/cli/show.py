"""What the command line prints: the overview, a group's commands, and what a command found."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from whence.commands import COMMANDS, GROUPS
from whence.runs.finding import Finding

PIPE_WIDTH = 200
"""Columns when stdout is no terminal: wide enough that no table cell is cut."""


def overview() -> None:
    """Print all commands, grouped."""
    out = _console()
    out.print("Whence: where does a language model's behaviour come from?\n", style="bold")
    out.print("usage: whence COMMAND [--help] [FLAGS]\n")
    _print_commands(out, [name for name in COMMANDS if " " not in name])
    for group, question in GROUPS.items():
        out.print(f"\n{group}: {question}", style="bold")
        _print_commands(out, _members(group))
    out.print("\nwhence COMMAND --help explains every flag and has an example.")


def group_overview(group: str) -> None:
    """Print the commands of one group."""
    out = _console()
    out.print(f"whence {group}: {GROUPS[group]}\n", style="bold")
    for inner in (name for name in GROUPS if name.startswith(f"{group} ")):
        out.print(f"{inner}: {GROUPS[inner]}", style="bold")
        _print_commands(out, _members(inner))
        out.print()
    _print_commands(out, _members(group))
    out.print(f"\nwhence {group} COMMAND --help explains every flag and has an example.")


def show_finding(finding: Finding) -> None:
    """Print headline, table and files. Text that came from data cannot move the cursor."""
    out = _console()
    out.print(Text(_printable(finding.headline)), style="bold", soft_wrap=True)
    if finding.rows:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
        for position, column in enumerate(finding.columns):
            numeric = all(_is_number(row[position]) for row in finding.rows)
            table.add_column(Text(_printable(column)), justify="right" if numeric else "left")
        for row in finding.rows:
            table.add_row(*(Text(_printable(cell)) for cell in row))
        out.print()
        out.print(table)
    if finding.files:
        out.print()
    width = max(map(len, finding.files), default=0)
    for what, where in finding.files.items():
        # print, not rich: a path must stay on one line, to be copied
        print(f"{_printable(what):<{width}}  {_shown(where)}")


def complain(kind: str, message: str) -> None:
    """Print one line on stderr."""
    print(f"{kind}: {_printable(' '.join(message.split()))}", file=sys.stderr)


def _print_commands(out: Console, names: list[str]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 2), show_header=False, show_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for name in names:
        table.add_row(name, COMMANDS[name].summary)
    out.print(table)


def _members(group: str) -> list[str]:
    """Commands of a group, without those of a group within it."""
    inner = [name for name in GROUPS if name.startswith(f"{group} ")]
    return [
        name
        for name in COMMANDS
        if name.startswith(f"{group} ") and not any(name.startswith(f"{i} ") for i in inner)
    ]


def _console() -> Console:
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def _is_number(cell: str) -> bool:
    return not any(character.isalpha() for character in cell)


def _printable(text: str) -> str:
    """`text` with control characters, escape sequences among them, made visible."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in str(text))


def _shown(path: Path) -> str:
    return _printable(str(path))
