"""Evaluation: compute metrics of a trained run or of a folder of samples, and write every number with its receipt.

Start at `gan.evaluation.evaluate.evaluate`.
"""
