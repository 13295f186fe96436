"""The areas of `make bench`, one module each. Its `measure` returns the rows of a table."""
