"""A parser for every command that also refuses options given twice, and NaN."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperOption


class Command(TyperCommand):
    """A command whose options with one value are given once, and whose numbers are numbers."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's.

        Raises BadParameter for a repeated option and for NaN, which every range lets through.
        """
        words = list(args)
        rest: list[str] = super().parse_args(ctx, args)
        _, _, given = self.make_parser(ctx).parse_args(args=words)
        for option in given:
            name = option.opts[-1] if option.opts else option.name
            if (
                isinstance(option, TyperOption)
                and not (option.multiple or option.is_flag)
                and given.count(option) > 1
            ):
                raise typer.BadParameter(
                    f"{name} is given {given.count(option)} times; give it once", ctx=ctx
                )
            value = ctx.params.get(option.name)
            if isinstance(value, float) and value != value:
                raise typer.BadParameter(f"{name} should be a number, not NaN", ctx=ctx)
        return rest
