"""Language models: loading, the policy, value functions, families, LoRA."""
