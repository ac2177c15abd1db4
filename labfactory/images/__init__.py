"""Build the images of a lab, and bring them to a node or a registry."""

from labfactory.images.build import archive, base, build
from labfactory.images.deliver import load, push

__all__ = ["archive", "base", "build", "load", "push"]
