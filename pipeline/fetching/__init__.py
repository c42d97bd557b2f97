"""How a dataset's files are downloaded and verified."""
