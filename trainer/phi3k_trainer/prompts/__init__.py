"""Templates over columns, conversations, and their tokens with labels."""
