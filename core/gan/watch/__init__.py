"""The watch of a training: signals, verdicts, remedies and the report about them.

* `gan.watch.signals` measures at the end of a window what the losses do not tell.
* `gan.watch.rules` holds the rules and thresholds of the core's own guard.
* `gan.watch.watch` collects windows, lets the guards judge them, and decides on remedies.
* `gan.watch.report` tells all of it in words and plots.
"""
