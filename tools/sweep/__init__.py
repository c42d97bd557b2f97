"""Experiments on many machines: each has its own clone and process, and Dask gives them out."""
