"""Results of several runs together: conditions, tables, csv files, freshness."""
