"""The algorithms: arrays in, arrays out. They import no Dagster, no resource and no file store."""
