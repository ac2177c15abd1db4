"""The guard's decisions on recorded and invented traffic, and those of others."""
