/** The page: draws what the wires say, and says what is typed. Text gets onto it by `textContent` alone. */
import { TEXT_LIMIT, Wire, cleanName, cleanText } from "./plain.js";

const LINES_LIMIT = 500;
const GROUP_MS = 5 * 60_000;
const CONFIRM_MS = 10_000;
const BANNER_MS = 5_000;
const FOLLOW_PX = 100;
const ALONE = "You are in a booth. When a stranger comes in you will see their words.";
const STRANGER = "A stranger spoke. This page can’t see if they leave.";
const FIRST = "Amber Brave Calm Clever Gentle Happy Kind Lucky Merry Quiet Sunny Swift".split(" ");
const SECOND = "Badger Crane Finch Fox Hare Heron Lark Lynx Otter Owl Robin Wren".split(" ");

/**
 * What a line says, when (ms), and in which of the pane's seats (counted from 0).
 * @typedef {{name: string, text: string, mine: boolean, at: number, seat: number}} Said
 */

/** @param {string} selector @param {ParentNode} [root] @returns {any} */
const find = (selector, root = document) => root.querySelector(selector);

/** @param {string} tag @param {string} look @param {string} [text] */
function make(tag, look, text) {
  const element = document.createElement(tag);
  element.className = look;
  if (text) element.dir = "auto";
  element.textContent = text ?? "";
  return element;
}

/** 229: Safari's Enter that ended a composition. @param {KeyboardEvent} event */
const isEnter = (event) => event.key === "Enter" && !event.isComposing && event.keyCode !== 229;

const nameBox = find("#name");
let myName = "";
/** By the server, where the host app names people. */
let knownAs = "", hasLogin = false;

const drawName = () => [FIRST, SECOND].map((words) => words[Math.floor(Math.random() * words.length)]).join(" ");

/** @param {string} name */
function rename(name) {
  nameBox.value = myName = cleanName(name) || myName || drawName();
  try {
    sessionStorage.parlour = myName;
  } catch {} // forbidden: kept as long as the page
}

let title = document.title;
let unread = 0;

/** What was said while nobody looked is counted in the title. @param {number} count */
function setUnread(count) {
  unread = count;
  document.title = (count ? `(${count}) ` : "") + title;
}

/** One room on the page: its lines, its state, and the box to type in. */
class Pane {
  /** @type {WeakMap<Element, Said>} By line, whose class says whether it is `pending` or `failed`. */
  lines = new WeakMap();
  seat = 0;
  met = false;
  following = true;
  missed = 0;
  unseen = 0;
  size = 0;
  patience = 0;

  /** @param {"public" | "private"} room */
  constructor(room) {
    this.booth = room === "private";
    this.root = find(`#${room}`);
    this.log = find(".log", this.root);
    this.list = find("ol", this.root);
    this.status = find("[role=status]", this.root);
    this.more = find(".more", this.root);
    this.box = find("textarea", this.root);
    this.tab = find(`[data-shows=${room}]`);
    this.wire = new Wire(new URL(`chat/${room}`, document.baseURI), this);
    this.root.onclick = ({ target }) => this.act(target.closest("[data-act]"));
    find("form", this.root).onsubmit = (event) => this.submit(event);
    this.box.oninput = () => this.fit();
    this.box.onkeydown = (event) => {
      if (isEnter(event) && !event.shiftKey && !matchMedia("(pointer: coarse)").matches) this.submit(event);
    };
    const size = () => this.log.clientWidth * this.log.clientHeight;
    this.log.onscroll = () => size() === this.size && this.follow();
    new ResizeObserver(() => {
      this.size = size();
      if (this.following) this.toEnd();
    }).observe(this.log);
  }

  act(button) {
    const act = button?.dataset.act;
    const li = button?.closest("li");
    if (act === "more") this.toEnd();
    if (act === "retry") this.retry(li);
    if (act === "delete") this.remove(li);
    if (act === "leave") this.leave("You left the booth.");
    if (act === "next") this.leave("You left for the next free seat, maybe in the same booth.");
    if (/start|again|next/.test(act)) this.enter();
  }

  enter() {
    this.wire.start();
    if (this.booth) this.box.focus();
  }

  leave(words) {
    this.freeSeat();
    this.note(words);
    this.wire.stop();
  }

  // The connection

  /** @param {string} why */
  changed(why) {
    const { state } = this.wire;
    if (this.root.dataset.state === "open" && state !== "idle") {
      this.freeSeat();
      if (this.booth) this.note("The connection is lost, and your seat. The next booth may hold another stranger.");
    }
    if (state === "open" && this.seat && !this.booth) this.note("Back. This page can’t know what was said meanwhile.");
    this.root.dataset.state = state;
    clearTimeout(this.patience);
    if (state === "connecting" || state === "lost") this.patience = setTimeout(() => this.tell(true), BANNER_MS);
    this.tell(state === "ended", why);
  }

  freeSeat() {
    for (const li of this.list.querySelectorAll(".pending")) this.fail(li);
    this.seat += 1;
    this.met = false;
  }

  /** Say how the connection is. @param {boolean} trouble  that lasts @param {string} [why] */
  tell(trouble, why) {
    const { state } = this.wire;
    let words = "";
    if (state === "ended") words = `The server ended this connection: ${why}.`;
    else if (trouble) words = "Not connected. Trying again; what you typed is kept.";
    else if (this.booth && state === "connecting") words = "Looking for a booth…";
    else if (this.booth && state === "open") words = this.met ? STRANGER : ALONE;
    this.root.classList.toggle("trouble", trouble);
    if (this.status.textContent !== words) this.status.textContent = words; // said aloud: only what is new
  }

  // What is said

  submit(event) {
    event.preventDefault();
    const text = cleanText(this.box.value).trim();
    const { length } = [...text];
    if (length > TEXT_LIMIT) this.status.textContent = `Too long: ${length} of ${TEXT_LIMIT} characters. Shorten it.`;
    else if (text && this.say(text)) {
      this.fit("");
      this.tell(false);
    }
    this.box.focus();
  }

  say(text) {
    if (!this.wire.say(myName, text)) {
      this.wire.hurry();
      if (this.wire.state !== "ended") this.tell(true);
      return false;
    }
    const li = this.add(myName, text, true);
    setTimeout(() => this.doubt(li), CONFIRM_MS);
    this.toEnd();
    return true;
  }

  doubt(li) {
    if (!li.matches(".pending")) return;
    this.fail(li);
    if (this.wire.heardAt < this.lines.get(li).at) this.wire.distrust();
  }

  /** @param {string} name @param {string} text */
  said(name, text) {
    const own = [...this.list.querySelectorAll(".pending, .failed")].find((li) => {
      const said = this.lines.get(li);
      const byUs = name === said.name || name === knownAs || (hasLogin && !knownAs && li.matches(".pending"));
      return byUs && text === said.text && said.seat === this.seat;
    });
    if (own) return this.confirm(own, name);
    this.met = true;
    this.tell(false);
    this.add(name, text, false);
    if (document.hidden) setUnread(unread + 1);
    if (!this.root.offsetParent) this.look(this.unseen + 1);
  }

  /** @param {string} words @param {boolean} refused */
  noticed(words, refused) {
    const li = refused && find(".pending", this.list);
    if (li) this.fail(li, `Not said: ${words}`);
    else this.note(words);
  }

  confirm(li, name) {
    const said = this.lines.get(li);
    if (name !== said.name) rename(name);
    find("b", li).textContent = said.name = knownAs = name;
    find(".foot", li)?.remove();
    li.classList.remove("pending", "failed");
    this.regroup(li);
  }

  fail(li, why = "Not confirmed: it may not have arrived.") {
    li.classList.replace("pending", "failed");
    const foot = make("div", "foot");
    foot.append(make("p", "", why));
    for (const label of ["Retry", "Delete"]) {
      const button = make("button", "", label);
      button.dataset.act = label.toLowerCase();
      foot.append(button);
    }
    li.append(foot);
    if (this.following) this.toEnd();
  }

  retry(li) {
    const { text, seat } = this.lines.get(li);
    if (this.booth && seat !== this.seat) {
      // It was meant for somebody else: the one who wrote it decides.
      if (this.wire.state === "idle") return;
      this.fit(`${this.box.value}\n${text}`.trim());
    } else if (!this.say(text)) return;
    this.remove(li);
  }

  remove(li) {
    const next = li.nextElementSibling;
    li.remove();
    this.regroup(next);
    this.box.focus();
  }

  // The list

  /** @param {string} name @param {string} text @param {boolean} mine */
  add(name, text, mine) {
    const now = new Date();
    const li = make("li", "line");
    const who = make("p", "who");
    const time = make("time", "", now.toLocaleTimeString([], { timeStyle: "short" }));
    time.setAttribute("datetime", now.toISOString());
    time.title = now.toLocaleString();
    who.append(make("b", "", name), " ", time);
    li.append(who, make("p", "text", text));
    this.lines.set(li, { name, text, mine, at: +now, seat: this.seat });
    this.place(li, mine);
    if (mine) li.classList.add("mine", "pending");
    return li;
  }

  note(words) {
    this.place(make("li", "note", words));
  }

  /** Before one's own lines on their way, which come later. @param {Element} li @param {boolean} [last] */
  place(li, last) {
    this.follow();
    this.list.insertBefore(li, last ? null : find(".pending", this.list));
    this.regroup(li);
    this.regroup(li.nextElementSibling);
    if (this.list.children.length > LINES_LIMIT) find("li:not(.pending, .failed)", this.list)?.remove();
    this.regroup(this.list.firstElementChild);
    if (this.following) this.toEnd();
    else if (this.lines.has(li)) this.miss(this.missed + 1);
  }

  regroup(li) {
    const said = this.lines.get(li);
    const before = this.lines.get(li?.previousElementSibling);
    const same = said?.name === before?.name && said?.mine === before?.mine && said?.at - before?.at < GROUP_MS;
    li?.classList.toggle("same", same);
  }

  // Looking

  follow() {
    if (!this.log.clientHeight) return; // not shown
    this.following = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < FOLLOW_PX;
    if (this.following) this.miss(0);
  }

  toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
    this.follow();
  }

  miss(missed) {
    this.missed = missed;
    this.more.hidden = !missed;
    this.more.textContent = `${missed} new message${missed === 1 ? "" : "s"}`;
  }

  fit(text) {
    if (text !== undefined) this.box.value = text;
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight + 2}px`;
  }

  /** @param {number} unseen  lines that came while only the other room was shown */
  look(unseen) {
    this.unseen = unseen;
    find("span", this.tab).textContent = unseen ? ` (${unseen})` : "";
  }
}

/** What the server says about itself, if it does. */
async function introduce() {
  try {
    const answer = await fetch("about.json", { signal: AbortSignal.timeout(3000) });
    const about = await answer.json();
    title = find("h1").textContent = String(about.title || title);
    setUnread(unread);
    hasLogin = !!about.login;
    document.body.classList.toggle("alone", about.booths === false);
    if (about.people >= 0) find("#people").textContent = `Connected when you came in: ${about.people}.`;
  } catch {} // no answer, or not JSON
}

nameBox.onchange = () => rename(nameBox.value);
nameBox.onkeydown = (event) => isEnter(event) && nameBox.blur();
find("#another").onclick = () => rename(drawName());
try {
  rename(sessionStorage.parlour ?? "");
} catch {
  rename("");
}

const panes = [new Pane("public"), new Pane("private")];
const hurry = () => panes.forEach((pane) => pane.wire.hurry());
addEventListener("online", hurry);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  setUnread(0);
  hurry();
});
for (const pane of panes)
  pane.tab.onclick = () => {
    document.body.dataset.view = pane.root.id;
    for (const { tab } of panes) tab.ariaPressed = String(tab === pane.tab);
    pane.look(0);
  };
await introduce();
panes[0].enter();
