helm install burberry-lora ../../charts/phi3k --set gpus=8
