"""Import the KServe SDK without its Kubernetes client, which no model server uses.

`import kserve` loads some 1,100 modules of the Kubernetes API for `KServeClient`: about
two fifths of the time that the import takes, and 70 MB in every model's pod.
"""

from __future__ import annotations

import sys
from types import ModuleType

CLIENT = "kserve.api.kserve_client"


def without_client() -> None:
    """Stand a placeholder in for the client; to be called before `import kserve`."""
    if "kserve" not in sys.modules:
        placeholder = ModuleType(CLIENT)
        placeholder.KServeClient = None  # type: ignore[attr-defined]
        sys.modules[CLIENT] = placeholder
