"""Spellings that a pattern alone cannot check.

No message contains the rejected value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from stacks.spelling import Spelling, mistake

_KEY_IN_QUERY = re.compile(r"[?&][^=&]*(key|token|secret|passw|signature)[^=&]*=", re.I)


@dataclass(frozen=True)
class AddressSpelling(Spelling):
    """An address; one that carries a password says more than `is not written so`."""

    secret: str = ""
    """What to do with a password, and with which key of the stack."""

    def check(self, value: object) -> str:
        """Return `value`; raise a sentence about it when it is not written so."""
        if isinstance(value, str) and "@" in value:
            raise mistake(
                "carries a user name or a password; write only https://HOST, replace "
                f"the password where it is in use, and {self.secret}"
            )
        if isinstance(value, str) and _KEY_IN_QUERY.search(value):
            raise mistake(
                "carries a key; write it without, replace the key where it is in use, "
                f"and {self.secret}"
            )
        return super().check(value)


@dataclass(frozen=True)
class ExpressionSpelling(Spelling):
    """JMESPath that can be read; the message has no part of it, only the place."""

    def check(self, value: object) -> str:
        """Return `value`; raise a sentence about it when it is not written so."""
        import jmespath  # only where there are external endpoints
        from jmespath.exceptions import JMESPathError, ParseError

        text = super().check(value)
        try:
            parsed = jmespath.compile(text).parsed
        except ParseError as error:
            at = min(error.lex_position or 0, len(text)) + 1
            raise mistake(
                f"is not a JMESPath expression (it cannot be read from character {at} "
                "on); correct it there, or before"
            ) from None
        except (JMESPathError, RecursionError):
            raise mistake(
                "is not a JMESPath expression; jmespath.org shows how they are written"
            ) from None
        if not _functions(parsed) <= set(jmespath.functions.Functions.FUNCTION_TABLE):
            raise mistake(
                "calls a function that JMESPath does not have; jmespath.org lists them"
            )
        return text


def _functions(node: dict[str, Any]) -> set[str]:
    """Names of the functions that a parsed JMESPath expression calls."""
    own = {node["value"]} if node["type"] == "function_expression" else set()
    below = (child for child in node["children"] if isinstance(child, dict))
    return own.union(*(_functions(child) for child in below))


_CRON_FIELDS = (
    ("a minute", 0, 59),
    ("an hour", 0, 23),
    ("a day", 1, 31),
    ("a month", 1, 12),
    ("a weekday", 0, 6),
)


@dataclass(frozen=True)
class ScheduleSpelling(Spelling):
    """Five fields of cron, within their bounds."""

    def check(self, value: object) -> str:
        """Return `value`; raise a sentence about it when it is not written so."""
        text = super().check(value)
        for field, (what, least, most) in zip(
            text.split(" "), _CRON_FIELDS, strict=True
        ):
            span, _, step = field.partition("/")
            for part in span.split(","):
                first, _, last = part.replace("*", str(least)).partition("-")
                if not least <= int(first) <= int(last or first) <= most:
                    raise mistake(
                        f"has {what} that does not exist; write {least} to {most} "
                        "there, and ranges from the smaller to the larger"
                    )
            if step and int(step) == 0:
                raise mistake("never comes (/0); write at least 1 after the /")
        return text
