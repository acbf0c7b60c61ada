"""Generation: load a trained model from a run folder and make samples with it.

`gan.generation.loading.load_model` gives a `gan.generation.model.Model`.
"""
