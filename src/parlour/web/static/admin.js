/** The desk: reports with what they prove, decisions, and bans. Text gets onto the page by `textContent` alone. */

const HOUR = 3600;
const TIMES = { "1 hour": HOUR, "1 day": 24 * HOUR, "7 days": 168 * HOUR, "30 days": 720 * HOUR, "for good": null };
const DECISIONS = {
  dismiss: "Dismiss: nothing is done",
  warn: "Warn the accused",
  mute: "Mute the accused",
  ban: "Ban the accused and their address",
  pass: "Let the message pass",
};
const PENALTIES = ["mute", "ban"];
const WORDS = {
  relayed: "said, as the server relayed it",
  forged: "not what the server relayed",
  withheld: "kept back by the reporter",
  held: "held by a rule, not said yet",
};
const VIEWS = ["first", "sign-in", "reports", "bans"];

/** @param {string} selector @param {ParentNode} [root] @returns {any} */
const find = (selector, root = document) => root.querySelector(selector);

/** @param {string} tag @param {string} look @param {...(string | Node)} inside @returns {any} */
function make(tag, look, ...inside) {
  const element = document.createElement(tag);
  element.className = look;
  element.append(...inside);
  return element;
}

/** What somebody else wrote. @param {string} tag @param {string} look @param {string} text */
function quote(tag, look, text) {
  const element = make(tag, look, text);
  element.dir = "auto";
  return element;
}

/** @param {number | null} ms */
const when = (ms) => (ms === null ? "for good" : new Date(ms).toLocaleString());

/** What the server answered that is no success. */
class Refused extends Error {
  /** @param {number} status @param {string} words */
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

let csrf = "";
/** From the one-time link. It is not left in the address, nor kept anywhere else. */
let ticket = "";

/** @param {string} method @param {string} path @param {object} [body] */
async function ask(method, path, body) {
  const headers = { Accept: "application/json", "X-CSRF": csrf };
  const sent = body && { body: JSON.stringify(body), headers: { ...headers, "Content-Type": "application/json" } };
  let answer;
  try {
    answer = await fetch(`api/${path}`, { method, headers, ...sent });
  } catch {
    throw new Refused(0, "The server can’t be reached. Try again.");
  }
  const told = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, told?.error?.message ?? `The server answers ${answer.status}.`);
  return told;
}

/** @param {...string} views */
function show(...views) {
  for (const view of VIEWS) find(`#${view}`).hidden = !views.includes(view);
  find("#me").hidden = !views.includes("reports");
}

/** @param {string} words */
const say = (words) => (find("#told").textContent = words);

/** @param {string} words */
const complain = (words) => (find("#trouble").textContent = words);

/** Do it once at a time, and say what went wrong. @param {any} button @param {() => Promise<unknown>} work */
async function doing(button, work) {
  complain("");
  say("");
  if (button) button.disabled = true;
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    complain(error.message);
    if (error.status === 401 && csrf) signedOut();
  } finally {
    if (button) button.disabled = false;
  }
}

function signedOut() {
  csrf = "";
  for (const list of document.querySelectorAll("#reports ul, #bans ul")) list.replaceChildren();
  show("sign-in");
  find("#sign-in input").focus();
}

/** @param {{name: string, role: string, csrf: string}} me */
async function signedIn(me) {
  csrf = me.csrf;
  ticket = "";
  find("#me span").textContent = `${me.name} (${me.role})`;
  show("reports", "bans");
  await look();
}

async function look() {
  const [{ reports }, { bans }] = await Promise.all([ask("GET", "reports?state=open"), ask("GET", "bans")]);
  list("reports", reports.map(drawReport));
  list("bans", bans.map(drawBan));
}

/** @param {string} section @param {Node[]} items */
function list(section, items) {
  find(`#${section} ul`).replaceChildren(...items);
  find(`#${section} .none`).hidden = items.length > 0;
}

// Reports

/** @param {any} report */
function drawReport(report) {
  const by = report.reporter ? `by ${report.reporter}` : "by a rule";
  const summary = make("summary", "", quote("b", "", report.reason || "no reason"), " ");
  summary.append(make("span", "soft", `${when(report.created_ms)}, in ${report.room}, ${by}`));
  const details = make("details", "", summary);
  details.ontoggle = () => {
    if (details.open && details.children.length === 1) doing(null, () => open(report.ref, details));
  };
  return make("li", "", details);
}

/** @param {string} ref @param {HTMLDetailsElement} details */
async function open(ref, details) {
  const report = await ask("GET", `reports/${encodeURIComponent(ref)}`);
  if (details.children.length > 1) return;
  details.append(make("p", "soft", `About ${report.accused ?? "nobody"}.`));
  if (report.note) details.append(quote("p", "text", report.note));
  if (report.evidence) details.append(...drawEvidence(report.evidence));
  else details.append(make("p", "warning", "The evidence is not as the server wrote it. It proves nothing."));
  details.append(drawForm(report));
}

/** @param {any} evidence */
function drawEvidence(evidence) {
  const known = [];
  if (!evidence.held && evidence.reasons.length === 0) {
    known.push(evidence.whole ? "Nothing is missing between these messages." : "Something may be missing here.");
    if (evidence.from_start) known.push("Nothing was said before them.");
  }
  const messages = evidence.messages.map((message) => {
    const who = message.by ? `the ${message.by}: ` : "";
    const item = make("li", message.word, make("p", "soft", `${when(message.ts)}, ${who}${WORDS[message.word]}`));
    if (message.text !== null) item.append(quote("p", "text", message.text));
    return item;
  });
  return [make("p", "soft", known.join(" ")), make("ol", "", ...messages)];
}

/** @param {any} report */
function drawForm(report) {
  const choices = Object.entries(DECISIONS).filter(([decision]) => decision !== "pass" || report.evidence?.held);
  const decision = choose(choices);
  const seconds = choose(Object.keys(TIMES).map((words) => [words, words]));
  const reason = make("input", "");
  reason.maxLength = 200;
  const time = make("label", "", "For how long ", seconds);
  const words = make("label", "", "Reason, which the accused is told ", reason);
  const button = make("button", "main", "Decide");
  const form = make("form", "", make("label", "", "Decision ", decision), words, time, button);
  decision.onchange = () => {
    time.hidden = !PENALTIES.includes(decision.value);
    words.hidden = !["warn", ...PENALTIES].includes(decision.value);
  };
  decision.onchange();
  form.onsubmit = (event) => {
    event.preventDefault();
    const body = { decision: decision.value, reason: words.hidden ? "" : reason.value };
    if (!time.hidden) body.seconds = TIMES[seconds.value];
    doing(button, async () => {
      await ask("POST", `reports/${encodeURIComponent(report.ref)}/decision`, body);
      await look();
      say("The report is decided.");
      find("#reports h2").focus();
    });
  };
  return form;
}

/** @param {string[][]} choices */
function choose(choices) {
  const options = choices.map(([value, words]) => Object.assign(make("option", "", words), { value }));
  return make("select", "", ...options);
}

// Bans

/** @param {any} ban */
function drawBan(ban) {
  const whom = ban.kind === "person" ? ban.subject : "an address";
  const button = make("button", "", "Lift");
  button.setAttribute("aria-label", `Lift the ban of ${whom}`);
  button.onclick = () =>
    doing(button, async () => {
      await ask("DELETE", `bans/${encodeURIComponent(ban.id)}`);
      await look();
      say("The ban is lifted.");
      find("#bans h2").focus();
    });
  const words = make("p", "", quote("b", "", whom), " ", quote("span", "", ban.reason));
  return make("li", "ban", words, make("span", "soft", `until: ${when(ban.until_ms)}`), button);
}

// The doors

/** @param {string} view @param {(fields: {name: string, password: string}) => Promise<any>} enter */
function onSubmit(view, enter) {
  const form = find(`#${view} form`);
  form.onsubmit = (event) => {
    event.preventDefault();
    const { name, password } = form.elements;
    doing(find("button", form), async () => {
      const me = await enter({ name: name.value, password: password.value });
      form.reset();
      await signedIn(me);
      find("#reports h2").focus();
    });
  };
}

/** Take the ticket of a link out of the address, where others may see it. */
function takeTicket() {
  const found = /^#first=(.+)/.exec(location.hash);
  if (!found) return false;
  ticket = found[1];
  history.replaceState(null, "", location.pathname + location.search);
  show("first");
  find("#first input").focus();
  return true;
}

async function start() {
  if (takeTicket()) return;
  try {
    await signedIn(await ask("GET", "me"));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    show("sign-in");
    if (error.status === 401) find("#sign-in input").focus();
    else complain(error.message);
  }
}

onSubmit("first", (fields) => ask("POST", "first", { ticket, ...fields }));
onSubmit("sign-in", (fields) => ask("POST", "sign-in", fields));
find("#out").onclick = () =>
  doing(find("#out"), async () => {
    await ask("POST", "sign-out");
    signedOut();
  });
find("[data-act=again]").onclick = (event) => doing(event.target, look);
addEventListener("hashchange", takeTicket);
start();
