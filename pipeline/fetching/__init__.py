"""Fetching: a dataset's files from its mirrors, verified. Answers from the network are hostile."""
