kubectl apply -f pytorchjob.yaml
