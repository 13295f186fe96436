"""Where images come from, how they become grey squares, and what is wrong with them."""
