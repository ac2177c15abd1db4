"""Backups, drills and restores, as a person at the machine asks for them."""
