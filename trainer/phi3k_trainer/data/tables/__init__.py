"""Statistics of any table: its columns, how two tables compare, and a report."""
