"""Connect the RSGI web server to the application: read bodies, send fixed responses, and call Django through WSGI."""
