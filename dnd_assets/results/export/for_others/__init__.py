"""What is known of units, laid out as files of other tools: one file for each tool."""
