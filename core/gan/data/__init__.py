"""Datasets: packed once into memory-mapped arrays, and read by the training in a seeded order.

`gan.data.packing.open_pack` opens a dataset as a `gan.data.pack.Pack`; `gan.data.order.Order` is the sampler.
"""
