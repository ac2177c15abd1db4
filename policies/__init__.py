"""The policy pack: what a lab must be like before it may be applied."""
