"""The download of a dataset's files, and their verification.

Answers from the network are hostile.
"""
