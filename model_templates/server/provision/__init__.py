"""Make an object store what the lab's settings say, and check that it is."""
