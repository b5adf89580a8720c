"""Templates over the columns of a row: text and JSON, and the way back from an answer to its fields."""
