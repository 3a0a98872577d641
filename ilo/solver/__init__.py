"""The solver: rounds of projected optimisation over the inputs of a generator's layers."""
