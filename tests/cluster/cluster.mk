# The test cluster. Included by the Makefile, which says what BIN and install are.
.PHONY: cluster-build cluster-up cluster-down

cluster-build: install ## build everything the test cluster needs into ~/.cache/phi3k-tools (once; 15 minutes on 2 cores)
	$(BIN)/python -m tests.cluster build

cluster-up: install ## start a Kubernetes cluster with the Kubeflow operators and Kueue on this machine (root on Linux)
	$(BIN)/python -m tests.cluster up

cluster-down: install ## stop it and remove everything it made
	$(BIN)/python -m tests.cluster down
