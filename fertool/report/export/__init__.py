"""The parts of a report that a paper takes: tables, figures, a paragraph on methods, works to cite."""
