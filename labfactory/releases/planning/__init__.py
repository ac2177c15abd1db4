"""What a change of the settings means, before anything is changed."""
