"""What variants answered, side by side."""
