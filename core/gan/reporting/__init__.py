"""What a run tells people: progress, tables, plots, pages, results and its manifest."""
