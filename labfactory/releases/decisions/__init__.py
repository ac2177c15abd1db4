"""What the guard decides of a release from what it has observed; pure."""
