"""The model as the recipe's section `tuning` wants it: adapters, quantisation, parameter groups."""
