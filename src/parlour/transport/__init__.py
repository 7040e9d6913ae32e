"""How a connection's bytes come and go: through any ASGI server, or straight from uvicorn's transport."""
