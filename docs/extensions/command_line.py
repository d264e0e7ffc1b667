"""The page of the command line, written from the program itself."""

from __future__ import annotations

from typing import Any

import typer

from hoi_captum.cli import app


def _described(parameter: Any, context: Any) -> str:
    """A definition: what is typed, and what it means."""
    what, meaning = parameter.get_help_record(context)
    if parameter.param_type_name == "argument":
        what = parameter.name.upper()
        meaning = meaning.replace("  [required]", "")
    return f"`{what}`\n: {meaning}\n"


def _usage(command: Any, context: Any) -> str:
    arguments = [p.name.upper() for p in command.params if p.param_type_name == "argument"]
    return " ".join([context.command_path, *arguments, "[OPTIONS]"])


def command_line_page() -> str:
    """Markdown: every command with its arguments and options, as ``--help`` has them."""
    group: Any = typer.main.get_command(app)
    top = group.make_context("hoi-captum", [], resilient_parsing=True)
    lines = [f"```text\n{top.command_path} [OPTIONS] COMMAND [ARGUMENTS]\n```\n"]
    lines += [_described(p, top) for p in group.get_params(top)]
    for name, command in group.commands.items():
        context = command.make_context(f"hoi-captum {name}", [], resilient_parsing=True)
        lines += [
            f"## hoi-captum {name}\n",
            f"{command.help}\n",
            f"```text\n{_usage(command, context)}\n```\n",
        ]
        lines += [_described(p, context) for p in command.get_params(context) if p.name != "help"]
    return "\n".join(lines)
