"""Reports for people and programs: progress, tables, plots, the HTML page, results and the manifest of a run."""
