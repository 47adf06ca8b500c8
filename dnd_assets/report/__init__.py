"""`dnd report`: an atlas of neurons as a folder of static pages that opens without a server."""
