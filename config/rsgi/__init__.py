"""Between the RSGI web server and the application: bodies, fixed responses, and WSGI for Django."""
