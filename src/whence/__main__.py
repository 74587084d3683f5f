"""The command line: `whence …` or `python -m whence …`."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from whence import __version__
from whence.errors import BadInput, WhenceError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    0 done, 1 failed while running, 2 bad input, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    from whence.cli.show import complain

    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        complain("interrupted", "run the same command again to resume")
        return 130
    except BrokenPipeError:
        # the reader (`| head`) has gone; keep Python from complaining again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        if isinstance(error, WhenceError):
            complain("error" if isinstance(error, BadInput) else "failed", str(error))
            return error.exit_code
        kind = type(error).__name__
        first = next(iter(str(error).splitlines()), "")
        told = f"{kind}: {first}" if first else kind
        hint = "" if "--debug" in words else " (run again with --debug for the traceback)"
        complain("failed", f"{told}{hint}")
        return 1


def _dispatch(words: list[str]) -> int:
    from whence.cli.show import group_overview, overview, show_finding
    from whence.commands import COMMANDS, GROUPS

    if not words or words[0] in ("--help", "-h", "help"):
        overview()
        return 0
    if words[0] in ("--version", "-V"):
        print(f"whence {__version__}")
        return 0
    name, rest = words[0], words[1:]
    while name in GROUPS:
        if not rest or rest[0] in ("--help", "-h", "help"):
            group_overview(name)
            return 0
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name not in COMMANDS:
        raise BadInput(_no_command(name, [*COMMANDS, *GROUPS]))
    # From here on something is imported: first see to it that it is quiet.
    from whence.cli.noise import speak

    speak("--debug" in rest)
    from whence.cli.parse import Usage, parse
    from whence.commands import load, run

    command = COMMANDS[name]
    usage = Usage(name, command.summary, command.example, command.positional)
    finding = run(command, parse(load(command.config), rest, usage))
    show_finding(finding)
    return 1 if finding.failed else 0


def _no_command(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean `whence {near[0]}`?" if near else "`whence --help` lists them"
    return f"no command `{name}`; {hint}"


if __name__ == "__main__":
    sys.exit(main())
