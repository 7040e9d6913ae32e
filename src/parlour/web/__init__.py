"""What is served over HTTP: the chat's WebSocket endpoints, the page, and health."""
