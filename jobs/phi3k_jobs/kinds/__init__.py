"""The kinds of job, one module each. The order is that of preference."""

from collections.abc import Mapping
from types import MappingProxyType

from phi3k_jobs.kinds.job import JOB
from phi3k_jobs.kinds.jobset import JOBSET
from phi3k_jobs.kinds.kind import Kind
from phi3k_jobs.kinds.pytorchjob import PYTORCHJOB
from phi3k_jobs.kinds.trainjob import TRAINJOB
from phi3k_trainer.contract import KindName

KINDS: Mapping[KindName, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            PYTORCHJOB,
            TRAINJOB,
            JOB,
            JOBSET,
        )
    }
)
"""By their names. `auto` takes the first that a cluster has, so none after `job`: those are taken by name only."""
DEFAULT_KIND: KindName = JOB.name
"""The one that every cluster has."""
