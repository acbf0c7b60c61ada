"""Control after training: latents as files, paths and films, directions and edits, projection, optimized latents.

`gan.load` gives a `gan.control.model.ControlledModel`, with which all of it begins.
"""
