"""Check how a text is written, and say how when it is not written so."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def mistake(text: str) -> PydanticCustomError:
    """An error whose message is `text` and nothing else."""
    return PydanticCustomError("mistake", "{text}", {"text": text})


@dataclass(frozen=True)
class Spelling:
    """How a text is written. The type in `Annotated[str, Spelling(...)]`."""

    what: str
    """With its article: `a size`."""
    how: str
    """What follows `write`: `a whole number with Mi, Gi or Ti, such as 20Gi`."""
    pattern: str
    """Regular expression of the whole text; also given to editors."""
    longest: int | None = None
    """Most characters; None when the pattern alone decides."""
    why: str = ""
    """Reason for `longest`."""
    taken: tuple[str, ...] = ()
    """Texts that the lab or its cluster uses itself."""
    guess: Callable[[str], str | None] = lambda text: None
    """What was probably meant; must be safe to print."""

    def check(self, value: object) -> str:
        """Return `value`; raise a sentence about it when it is not written so."""
        if value is None:
            raise mistake(f"has no value; write {self.how}")
        if not isinstance(value, str):
            near = self.guess(str(value)) if isinstance(value, int | float) else None
            raise mistake(self._refusal(near))
        if self.longest and len(value) > self.longest:
            raise mistake(
                f"is too long ({len(value)} characters, at most {self.longest}); "
                f"shorten it{': ' + self.why if self.why else ''}"
            )
        if value in self.taken:
            raise mistake(
                f"is taken by the lab or its cluster ({', '.join(self.taken)} are); "
                "choose another name"
            )
        if not re.fullmatch(self.pattern, value):
            raise mistake(self._refusal(self.guess(value)))
        return value

    def _refusal(self, near: str | None) -> str:
        meant = f'; did you mean "{near}"?' if near else ""
        return f"is not {self.what}; write {self.how}{meant}"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check before pydantic does: its own sentences are not for people."""
        return core_schema.no_info_before_validator_function(
            self.check, handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """What an editor can check without us."""
        found: dict[str, Any] = {**handler(schema), "pattern": f"^{self.pattern}$"}
        if self.longest:
            found["maxLength"] = self.longest
        if self.taken:
            found["not"] = {"enum": list(self.taken)}
        return found
