"""Where the API keeps the kinds of object that phi3k reads and writes."""

from phi3k_jobs.kinds import KINDS
from phi3k_jobs.objects.resource import Resource

RESOURCES = {
    resource.kind: resource
    for resource in (
        Resource("v1", "ConfigMap", "configmaps"),
        Resource("v1", "Event", "events"),
        Resource("v1", "Namespace", "namespaces", namespaced=False),
        Resource("v1", "Node", "nodes", namespaced=False),
        Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        Resource("v1", "Pod", "pods"),
        Resource("v1", "ResourceQuota", "resourcequotas"),
        Resource("v1", "Secret", "secrets"),
        Resource("v1", "ServiceAccount", "serviceaccounts"),
        Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False),
        Resource("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False),
        Resource("kueue.x-k8s.io/v1beta1", "LocalQueue", "localqueues"),
        Resource("kueue.x-k8s.io/v1beta1", "Workload", "workloads"),
        Resource("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
        Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        Resource("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False),
        *(resource for kind in KINDS.values() for resource in (kind.job, *kind.needs)),
    )
}
