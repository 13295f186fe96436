"""The areas of `make bench`, a module each: `measure` gives its rows."""
