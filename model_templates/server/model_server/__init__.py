"""What runs in a model's pod: fetch the artifact, prove its digest, serve it."""
