"""What a release serves: versions in the registry, and what they say of themselves."""
