"""Stack files as a person keeps them: a new one, an edit, the table of settings."""
