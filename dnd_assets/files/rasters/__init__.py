"""Pictures that are more than 8-bit RGB: their values, and how they are shown."""
