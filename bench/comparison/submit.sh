phi3k submit burberry-lora --gpus 8
