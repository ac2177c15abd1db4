"""What was promised to whom: which clause a change touches, and what is kept."""
