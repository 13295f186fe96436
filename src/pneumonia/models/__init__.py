"""The two networks, their training and their export to one graph each."""
