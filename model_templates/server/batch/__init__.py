"""Predict the rows of files in the object store, in bounded memory."""
