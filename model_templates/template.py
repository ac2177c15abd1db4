"""The shape of a template, and where templates are found: `model_templates/*.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

FOLDER = Path(__file__).parent
EXTERNAL = "external"
"""Template of the variants that are somebody else's endpoints; no release's own."""
UrlPath = Annotated[str, Field(pattern=r"^/")]


class Section(BaseModel):
    """Base of a template's parts: frozen and closed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class Format(Section):
    """What KServe calls a model's format."""

    name: str
    version: str


class Common(Section):
    """What both kinds of template say."""

    format: Format
    protocols: Annotated[tuple[Literal["v1", "v2"], ...], Field(min_length=1)]
    """KServe protocols that the server speaks; the first one is the default."""
    paths: Annotated[tuple[UrlPath, ...], Field(min_length=1)]
    """Beginnings of the URLs that callers reach; all others stay inside the cluster."""
    args: tuple[str, ...]
    """The server's arguments; KServe fills in what stands in double braces."""
    env: Mapping[str, str] = {}
    """The server's environment."""
    ready: UrlPath
    """URL that answers with 200 once the model is loaded."""
    live: UrlPath
    """URL that answers with 200 as long as the server runs."""


class ServerTemplate(Common):
    """The lab's own model server, in the lab's image."""

    kind: Literal["server"]
    command: tuple[str, ...]
    """The server's program."""


class KServeTemplate(Common):
    """One of KServe's own servers, in its image."""

    kind: Literal["kserve"]
    image: Annotated[str, Field(pattern=r"[:@][^/:@]+(:[^/:@]+)?$")]
    """The server's image, in a pinned version."""


Template = ServerTemplate | KServeTemplate
_ANY: TypeAdapter[Template] = TypeAdapter(
    Annotated[Template, Field(discriminator="kind")]
)


def names() -> list[str]:
    """Return the names of the templates that a release may choose."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def load(name: str) -> Template:
    """Return one template; LookupError says which ones exist."""
    if name == EXTERNAL:
        file = FOLDER / "server" / "external.yaml"
    elif name in names():
        file = FOLDER / f"{name}.yaml"
    else:
        raise LookupError(
            f"there is no model template {name!r}; there is {', '.join(names())}"
        )
    return _ANY.validate_python(yaml.safe_load(file.read_text()))
