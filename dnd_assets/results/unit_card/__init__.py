"""All that is known of one unit, gathered for pages and notebooks."""
