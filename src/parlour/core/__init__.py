"""The rules of the chat, pure: no loop, socket, clock or randomness. Time, choice and ids are arguments; effects are
values."""
