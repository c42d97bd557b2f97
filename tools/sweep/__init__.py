"""Experiments on many machines: one experiment is one clone is one process, and Dask gives them
out.
"""
