"""A run whose cache is warm trains where nothing can be reached, names included: the pod's routes are taken away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.cluster.cluster import Cluster
from tools.cluster.images import PROBE_IMAGE
from tools.cluster.sandbox import run, wait_until

from phi3k_jobs.render import objects
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe

from .command import Command
from .conftest import new_namespace
from .test_chart import SMALL
from .test_product_image import specification

pytestmark = pytest.mark.timeout(1800)

ROWS = 60
# Pictures behind URLs, that only this pod has; on the claim are no more than their addresses.
SHOP = f"""
import functools, http.server, json, pathlib
import pyarrow.parquet
from phi3k_trainer.data.sample.catalogue import write_catalogue
from phi3k_trainer.recipe.data import SampleSection

table = write_catalogue(SampleSection(rows={ROWS}), pathlib.Path("/scratch/shop"))
with open("/cache/products.jsonl", "w") as file:
    for row in pyarrow.parquet.read_table(table).to_pylist():
        print(json.dumps({{**row, "imageurl": "http://shop:8080/" + row["imageurl"]}}), file=file)
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=table.parent)
http.server.ThreadingHTTPServer(("", 8080), handler).serve_forever()
"""
SETTINGS = (
    *SMALL,
    "cluster.image_pull_policy=Never",
    "data.source=jsonl",
    "data.path=/cache/products.jsonl",
    "data.fetch.private_addresses=true",
)
# Begins the training once the kernel knows no way out of the pod, not even to the cluster's DNS.
UNTIL_ALONE = "while [ $(wc -l < /proc/net/route) -gt 1 ]; do sleep 0.1; done; ! nslookup shop"


@pytest.fixture
def phi3k(cluster: Cluster) -> Iterator[Command]:
    if cluster.sandbox is None:
        pytest.skip("the pods' routes aren't ours to change")
    with new_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield Command(cluster, name, str(cluster.kubeconfig))


def networks_of(uid: str, node: int) -> list[Path]:
    """The network namespace of a pod, by each process of its control group that has left that of the node's process.

    A container's first process joins the control group before it leaves the node's network.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        network = process / "ns" / "net"
        try:
            is_inside = uid in (process / "cgroup").read_text()
            if is_inside and network.readlink() != Path(f"/proc/{node}/ns/net").readlink():
                found.append(network)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def take_routes_away(uid: str, node: int) -> None:
    """Leave a pod nothing but itself."""
    wait_until(lambda: bool(networks_of(uid, node)), "a process of the pod", 120)
    run(["nsenter", f"--net={networks_of(uid, node)[0]}", "ip", "route", "flush", "table", "main"])


def test_a_warm_cache_is_all_that_a_run_needs(phi3k: Command, product_image: str) -> None:
    settings = (*SETTINGS, f"cluster.image={product_image}")
    *around, job = objects(load_recipe(ready_recipe("demo"), settings), kind="job")

    def kubectl(*arguments: str, manifest: object | None = None) -> str:
        return phi3k.cluster.kubectl(*arguments, "--namespace", phi3k.namespace, manifest=manifest)

    def apply(manifest: Any) -> None:
        kubectl("apply", "--server-side", "-f", "-", manifest=manifest)

    for entry in around:
        apply(entry)
    shop = specification(product_image, "shop", ["/opt/phi3k/bin/python", "-c", SHOP])
    shop["securityContext"] |= {"runAsUser": 10001, "fsGroup": 10001}
    shop["containers"][0] |= {"imagePullPolicy": "Never"}
    shop["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    shop["containers"][0]["volumeMounts"].append({"name": "cache", "mountPath": "/cache"})
    shop["volumes"].append({"name": "cache", "persistentVolumeClaim": {"claimName": "phi3k-cache"}})
    labels = {"app": "shop"}
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop", "labels": labels}, "spec": shop})
    service = {"selector": labels, "ports": [{"port": 8080}]}
    apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": service})
    kubectl("wait", "pod/shop", "--for=condition=Ready", "--timeout=180s")

    warmed = phi3k("cache", "warm", "demo", *(word for one in settings for word in ("--set", one)))
    assert warmed.code == 0, warmed.err
    assert "rows to train on" in warmed.out
    kubectl("delete", "pod", "shop", "--grace-period=1")

    pod = job["spec"]["template"]["spec"]
    held = {**pod["containers"][0], "name": "until-alone", "image": PROBE_IMAGE, "command": ["sh", "-c", UNTIL_ALONE]}
    pod["initContainers"] = [{name: held[name] for name in ("name", "image", "command", "securityContext")}]
    apply(job)
    selector = "--selector=phi3k/run=demo,app.kubernetes.io/component=trainer"
    pods = ("get", "pods", selector, "--output=jsonpath={.items[*].metadata.uid}")
    wait_until(lambda: bool(kubectl(*pods)), "the pod", 60)
    assert phi3k.cluster.sandbox is not None
    take_routes_away(kubectl(*pods), phi3k.cluster.sandbox.init)
    ended = phi3k("wait", "demo")
    assert ended.code == 0, ended.out + ended.err + phi3k("logs", "demo").out
    assert "report: /runs/demo/report.html" in phi3k("logs", "demo").out
