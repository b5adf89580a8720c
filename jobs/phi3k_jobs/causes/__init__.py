"""Why a run is where it is: one module a kind of cause. Pure."""
