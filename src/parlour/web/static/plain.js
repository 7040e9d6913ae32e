/** The plain wire: what goes over the WebSocket, and a connection that comes back by itself. No DOM here. */

/** Characters in a message, at most. */
export const TEXT_LIMIT = 10_000;

const CONNECT_MS = 10_000;
const LONGEST_WAIT_MS = 30_000;
/** Open for so long: the waits begin anew. */
const CALM_MS = 10_000;

/** Codes of notices that mean: a line was not said. */
const REFUSALS = /^(bad_|too_|rate_|forbidden|required|muted|banned|held|locked|unavailable|internal)/;

/**
 * `lost` comes back by itself; `ended` does not, by the server's will.
 * @typedef {"idle" | "connecting" | "open" | "lost" | "ended"} State
 *
 * @typedef {object} Handlers
 * @property {(why: string) => void} changed  the state; `why` it ended
 * @property {(name: string, text: string) => void} said  by anyone in the room, oneself included
 * @property {(words: string, refused: boolean) => void} noticed  for us alone; `refused`: a line was not said
 */

/** The text as the server passes it on: one line, no control characters but tabs. @param {string} text */
export function cleanText(text) {
  return (text.toWellFormed?.() ?? text).replace(/\r\n|[\0-\x08\n-\x1f\x7f-\x9f\u2028\u2029]/g, " ");
}

/** The name without what would break a line; the server has finer rules. @param {string} name */
export function cleanName(name) {
  return cleanText(name).replace(/> +/g, ">").trim().replace(/^(! +)+/, "");
}

/** One seat in one room, for as long as it is wanted. */
export class Wire {
  /** @type {State} */
  state = "idle";
  /** When the last frame came, in milliseconds. */
  heardAt = 0;
  #url;
  #on;
  /** @type {WebSocket | undefined} */
  #socket;
  #timer = 0;
  #tries = 0;

  /** @param {URL} url  of the seat, by http(s) @param {Handlers} on */
  constructor(url, on) {
    this.#url = url.href.replace("http", "ws");
    this.#on = on;
  }

  start() {
    this.#tries = 0;
    this.#connect("connecting");
  }

  stop() {
    this.#drop();
    this.#become("idle");
  }

  /** Wait no longer before the next try. */
  hurry() {
    if (this.state === "lost") this.#connect("lost");
  }

  /** Nothing comes any more, though the browser says it is open. */
  distrust() {
    if (this.state === "open") this.#closed(1006, "");
  }

  /** False: not connected. @param {string} username @param {string} message */
  say(username, message) {
    if (this.state !== "open") return false;
    this.#socket.send(JSON.stringify({ username, message }));
    return true;
  }

  /** @param {State} state */
  #connect(state) {
    this.#drop();
    this.#become(state);
    this.#socket = new WebSocket(this.#url);
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = ({ data }) => this.#received(data);
    this.#socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#timer = setTimeout(() => this.#closed(1006, ""), CONNECT_MS);
  }

  #opened() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#tries = 0), CALM_MS);
    this.#become("open");
  }

  /** @param {string} frame */
  #received(frame) {
    this.heardAt = Date.now();
    const notice = /^! (?:(\w+): )?([^]*)/.exec(frame);
    const end = frame.indexOf("> ");
    if (notice) this.#on.noticed(notice[2], REFUSALS.test(notice[1]));
    else if (end > 0) this.#on.said(frame.slice(0, end), frame.slice(end + 2));
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    this.#drop();
    const final = (code >= 4500 && code <= 4999) || [1002, 1003, 1007, 1009].includes(code);
    if (final) return this.#become("ended", `${reason || "no reason given"} (${code})`);
    this.#become("lost");
    // At random: a restarted server must not meet everybody at once.
    const wait = Math.random() * Math.min(LONGEST_WAIT_MS, 1000 * 2 ** this.#tries++);
    this.#timer = setTimeout(() => this.#connect("lost"), wait);
  }

  #drop() {
    clearTimeout(this.#timer);
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  /** @param {State} state */
  #become(state, why = "") {
    if (state === this.state) return;
    this.state = state;
    this.#on.changed(why);
  }
}
