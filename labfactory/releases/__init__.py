"""What a release means: resolve it, write it down, watch it arrive."""
