"""The demo: a lab on this machine, two models on real data, a second version of one."""

from labfactory.demo.story import run

__all__ = ["run"]
