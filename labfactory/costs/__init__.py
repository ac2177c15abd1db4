"""What a lab costs: as it is, as it would be, and how much it may."""
