"""`uvicorn server:app`, from this folder."""

from parlour.app import create_app

app = create_app()
public_chat, private_chat = app.state.parlour.public_chat, app.state.parlour.private_chat
