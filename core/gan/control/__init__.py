"""Control after training: latents as files, paths and films, directions and edits, projection, optimized latents.

`gan.load` gives a `gan.control.model.LatentModel`, with which all of it begins.
"""
