"""Names of the namespaces that a lab has, as the table of flows speaks of them.

Rooms say them too, which the table itself is made of: hence a file of their own.
"""

LAB, DRILL, COPIES = "lab", "drill", "copies"
GATEWAY, KSERVE = "gateway", "kserve"
PLATFORM = (GATEWAY, KSERVE)
"""Namespaces of what a cluster has once; only what comes in is limited there."""
