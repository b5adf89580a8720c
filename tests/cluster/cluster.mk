# Targets for the test cluster; PYTHON is the interpreter of the environment with phi3k's `cluster` and `dev` extras.
.PHONY: cluster-build cluster-up cluster-down

cluster-build: install  ## build everything the test cluster needs into ~/.cache/phi3k-tools (once; 15 minutes on 2 cores)
	$(PYTHON) -m tests.cluster build

cluster-up: install  ## start a Kubernetes cluster with the Kubeflow operators and Kueue on this machine (root on Linux)
	$(PYTHON) -m tests.cluster up

cluster-down: install  ## stop it and remove everything it made
	$(PYTHON) -m tests.cluster down
