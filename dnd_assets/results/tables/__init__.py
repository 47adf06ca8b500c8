"""Every product as tables: their columns, how rows are read, the data dictionary."""
