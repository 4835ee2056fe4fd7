"""What a paper takes from a report: tables, figures, a paragraph on methods, works to cite."""
