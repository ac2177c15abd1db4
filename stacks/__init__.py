"""What a lab may say (schema), what each lab says, and how it is read (load)."""
