"""Self-contained HTML pages: reports that open without a network, in light and in dark."""
