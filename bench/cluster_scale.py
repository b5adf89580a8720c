"""How long the verbs take among 2,000 runs on 1,000 nodes that KWOK plays, beside kubectl: cluster_scale.py [--json].

Each line is the median of whole commands, imports included, kubectl's taken in turn with ours on the same cluster.
Needs root on Linux, as the test cluster does; takes two minutes. Ends with 1 if a verb takes 2 s or more.
"""

import json
import os
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.cluster.cluster import Cluster
from tools.cluster.crowd import NAMESPACE, NODES, RUNS, crowd, crowded_cluster
from tools.cluster.processes import cost, phi3k

from phi3k_jobs.kinds import KINDS

REPEATS = 9
LIMIT_SECONDS = 2.0
RESOURCES = ",".join(f"{kind.job.plural}.{kind.job.group}" for kind in KINDS.values())


def measure(cluster: Cluster) -> dict[str, dict[str, float]]:
    """Return, by command, the median seconds of ours, of kubectl's nearest command, and our processor time."""
    running = next(run.name for run in crowd() if (run.kind, run.state) == ("pytorchjob", "Running"))
    place = ("--namespace", NAMESPACE, "--kubeconfig", str(cluster.kubeconfig))
    kubectl = str(cluster.kubectl_program)
    pairs = {
        "phi3k list": (["list"], ["get", RESOURCES, "--selector=phi3k/run"]),
        "phi3k list --output json": (["list", "--output", "json"], ["get", RESOURCES, "--output=json"]),
        "phi3k status": (["status", running], ["describe", "pytorchjob", running]),
        "phi3k submit --dry-run": (
            ["submit", "demo", "--gpus", "8", "--name", "one-more", "--dry-run"],
            ["get", "nodes", "--output=json"],
        ),
    }
    results = {}
    for name, (ours, theirs) in pairs.items():
        own, other = [], []
        for _ in range(REPEATS):
            own.append(cost(phi3k(*ours, *place)))
            other.append(cost([kubectl, *theirs, *place]))
        results[name] = {
            "seconds": median(each.passed for each in own),
            "processor_seconds": median(each.worked for each in own),
            "kubectl_seconds": median(each.passed for each in other),
        }
    return results


def main() -> int:
    with crowded_cluster() as cluster:
        results = measure(cluster)
    if "--json" in sys.argv:
        print(json.dumps({"nodes": NODES, "runs": RUNS, "load": os.getloadavg()[0], "commands": results}, indent=2))
    else:
        print(f"{RUNS:,} runs on {NODES:,} nodes, median of {REPEATS}; load {os.getloadavg()[0]:.1f}")
        for name, found in results.items():
            ratio = found["seconds"] / found["kubectl_seconds"]
            seconds = f"{found['seconds']:.2f} s, {found['processor_seconds']:.2f} s of them at work"
            print(f"{name:26} {seconds}; kubectl {found['kubectl_seconds']:.2f} s, ratio {ratio:.2f}")
    return int(any(found["seconds"] >= LIMIT_SECONDS for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
