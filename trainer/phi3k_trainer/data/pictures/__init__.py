"""Pictures: fetching, verifying, and the store that keeps them."""
