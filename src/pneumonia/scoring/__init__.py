"""Batch scoring: many films to a Parquet data set, on one machine or on a Ray cluster."""
