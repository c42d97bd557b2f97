"""The download of a dataset's files, and their verification. Answers may be hostile."""
