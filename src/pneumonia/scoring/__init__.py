"""Batch scoring: many images to a Parquet data set, on one machine or on a Ray cluster."""
