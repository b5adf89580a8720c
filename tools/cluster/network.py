"""The cluster's addresses. They are fixed: every cluster has a network namespace of its own."""

BRIDGE = "cni0"
NODE_ADDRESS = "10.88.0.1"
POD_NETWORK = "10.88.0.0/16"
SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
# What processes inside the sandbox use; clients outside come by the link's address.
INNER_SERVER = f"https://{NODE_ADDRESS}:{API_PORT}"
