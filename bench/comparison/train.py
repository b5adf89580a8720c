"""The nearest that `TrainingClient.train` comes: LoRA on text, since its trainer reads a column `text`, no pictures."""

from kubeflow.storage_initializer.hugging_face import (
    HuggingFaceDatasetParams,
    HuggingFaceModelParams,
    HuggingFaceTrainerParams,
)
from kubeflow.training import TrainingClient
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainingArguments

TrainingClient().train(
    name="burberry-lora",
    num_workers=1,
    num_procs_per_worker=8,
    resources_per_worker={"gpu": 8, "cpu": "8", "memory": "64Gi"},
    model_provider_parameters=HuggingFaceModelParams(
        model_uri="hf://microsoft/Phi-3-vision-128k-instruct",
        transformer_type=AutoModelForCausalLM,
    ),
    dataset_provider_parameters=HuggingFaceDatasetParams(repo_id="DBQ/Burberry.Product.prices.United.States"),
    trainer_parameters=HuggingFaceTrainerParams(
        training_parameters=TrainingArguments(
            output_dir="/workspace/run",
            num_train_epochs=3,
            per_device_train_batch_size=4,
            learning_rate=2e-4,
            lr_scheduler_type="cosine",
            bf16=False,
            report_to="none",
        ),
        lora_config=LoraConfig(r=64, lora_alpha=128, lora_dropout=0.05, target_modules=["qkv_proj", "o_proj"]),
    ),
    storage_config={"size": "200Gi", "access_modes": ["ReadWriteMany"]},
)
