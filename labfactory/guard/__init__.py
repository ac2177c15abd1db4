"""The watcher of a lab's releases, and what it needs beside it: in pods."""
