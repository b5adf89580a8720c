"""The objects around a job: the recipe, claims, the account, who may talk to whom. Pure functions of the recipe."""

from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import RUN_LABEL, SHARED_LABELS, labels, selector
from phi3k_jobs.objects.shape import num_nodes
from phi3k_trainer.contract import METRICS_PORT, METRICS_PORT_NAME, RENDEZVOUS_PORT
from phi3k_trainer.recipe import Recipe, dump_recipe, recipe_sha256, without_env
from phi3k_trainer.recipe.cluster import ClaimSection, EgressSection
from phi3k_trainer.recipe.environment import WANDB_ADDRESS_VARIABLE, ports

WEB_PORTS = (443, 80)
# Anywhere but where clouds tell a machine its credentials: link-local, Azure, Alibaba, and by IPv6 Amazon and Google.
WEB: tuple[Manifest, ...] = (
    # Some networks (Cilium) do not count pods as addresses.
    {"namespaceSelector": {}},
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"]}},
)
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
DNS: tuple[Manifest, ...] = ({"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53})
METRICS: Manifest = {"protocol": "TCP", "port": METRICS_PORT}
RENDEZVOUS: Manifest = {"name": "rendezvous", "port": RENDEZVOUS_PORT}
# Digits of the recipe's SHA-256 in the name of its ConfigMap.
DIGEST_DIGITS = 10


def config_map_name(recipe: Recipe) -> str:
    """Return the name of the recipe's ConfigMap: another text has another name, so it can be immutable."""
    return f"{recipe.name}-recipe-{recipe_sha256(recipe)[:DIGEST_DIGITS]}"


def config_map(recipe: Recipe) -> Manifest:
    """Return the immutable ConfigMap with the recipe in force; the values of `cluster.env` stand in the pod alone."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(recipe), "labels": labels(recipe, "recipe")},
        "immutable": True,
        "data": {"recipe.yaml": dump_recipe(without_env(recipe))},
    }


def claims(recipe: Recipe) -> list[Manifest]:
    """Return the claims that submit creates where they are missing; runs share them, so they carry no run's label."""
    sections = {section.claim: section for section in (recipe.cluster.cache, recipe.cluster.runs) if section.create}
    return [claim(section) for section in sections.values()]


def claim(section: ClaimSection) -> Manifest:
    """Return a claim; runs share it, so it carries no run's label."""
    spec: Manifest = {
        "accessModes": list(section.access_modes),
        "resources": {"requests": {"storage": section.size}},
    }
    if section.storage_class is not None:
        spec["storageClassName"] = section.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": section.claim, "labels": dict(SHARED_LABELS)},
        "spec": spec,
    }


def service_account(recipe: Recipe) -> Manifest:
    """Return the trainer's account: it has no rights and no token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "trainer")},
        "automountServiceAccountToken": False,
    }


def network_policy(recipe: Recipe) -> Manifest:
    """Return the policy: in come the peers, and anyone to metrics; out go the peers, DNS and the web (W&B, the hub)."""
    peers = [{"podSelector": {"matchLabels": selector(recipe)}}]
    ingress: list[Manifest] = [{"from": peers}]
    if recipe.cluster.pod_monitor:
        ingress.append({"ports": [dict(METRICS)]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "network")},
        "spec": {
            "podSelector": {"matchLabels": selector(recipe)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [
                {"to": peers},
                {"ports": list(DNS)},
                {"to": list(WEB), "ports": [{"protocol": "TCP", "port": port} for port in web_ports(recipe)]},
                *map(egress_rule, recipe.cluster.egress),
            ],
        },
    }


def web_ports(recipe: Recipe) -> list[int]:
    """Return the web's TCP ports and those of the addresses the recipe names: a W&B server, a mirror, a proxy."""
    addresses = [(WANDB_ADDRESS_VARIABLE, recipe.tracking.wandb.base_url or ""), *sorted(recipe.cluster.env.items())]
    return list(dict.fromkeys([*WEB_PORTS, *(port for name, value in addresses for port in ports(name, value))]))


def egress_rule(section: EgressSection) -> Manifest:
    """Return a rule of the network policy for one entry of `cluster.egress`."""
    rule: Manifest = {"ports": [{"protocol": section.protocol, "port": section.port}]}
    if section.to is not None:
        rule["to"] = [_destination(section.to)]
    return rule


def _destination(to: str) -> Manifest:
    if ":" in to or to[0].isdigit():
        single = "" if "/" in to else "/128" if ":" in to else "/32"
        return {"ipBlock": {"cidr": f"{to}{single}"}}
    namespace = to.split(".")[1]
    return {"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: namespace}}}


def headless_service(recipe: Recipe) -> Manifest:
    """Return the Service that gives the pods of an Indexed Job their DNS names, before they are ready too."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "network")},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(recipe),
            "ports": [dict(RENDEZVOUS)],
        },
    }


def disruption_budget(recipe: Recipe) -> Manifest:
    """Return the budget that lets no replica be evicted voluntarily."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "trainer")},
        "spec": {"minAvailable": num_nodes(recipe.cluster), "selector": {"matchLabels": selector(recipe)}},
    }


def pod_monitor(recipe: Recipe) -> Manifest:
    """Return the PodMonitor by which the Prometheus operator finds the metrics of every replica."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": recipe.name, "labels": {**recipe.cluster.pod.labels, **labels(recipe, "trainer")}},
        "spec": {
            "selector": {"matchLabels": selector(recipe)},
            "podTargetLabels": [RUN_LABEL],
            "podMetricsEndpoints": [{"port": METRICS_PORT_NAME}],
        },
    }
