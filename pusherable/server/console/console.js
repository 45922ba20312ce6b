// The push console: what the server sends by its stream, as tables; payloads are text and stay text.
(() => {
  "use strict";

  const ROWS_KEPT = 500;
  const RETRY_DELAY = 2000;
  const EXCERPT = 1000;
  const STATES = {
    connecting: "Connecting…",
    live: "Live",
    paused: "Paused",
    lost: "Connection lost. Trying again…",
    over: "Closed. Open the new link that runpushserver has printed.",
  };

  const at = (id) => document.getElementById(id);
  const happenings = at("happenings");
  const clock = new Intl.DateTimeFormat([], {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    fractionalSecondDigits: 3,
    hourCycle: "h23",
  });

  let connection = "connecting";
  let isPaused = false;
  let waiting = []; // What came while paused.
  let waitingLost = 0;
  let instance = null;
  let isFirstOverview = true;

  function make(tag, { text, className, ...attributes } = {}, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // Only what has changed is written, so that a live region speaks of changes alone.
  function write(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // The connection

  function connect() {
    const stream = new window.EventSource("stream");
    stream.addEventListener("open", () => {
      isFirstOverview = true;
      showState("live");
    });
    stream.addEventListener("overview", (message) => showOverview(JSON.parse(message.data)));
    stream.addEventListener("happenings", (message) => receive(JSON.parse(message.data)));
    stream.addEventListener("error", () => {
      showState("lost");
      // The browser tries again by itself, but for an answer that it takes for final.
      if (stream.readyState === stream.CLOSED) findOut();
    });
  }

  async function findOut() {
    try {
      const answer = await fetch("./", { cache: "no-store" });
      if (answer.status === 404) {
        showState("over");
        return;
      }
    } catch {
      // Nobody is there yet.
    }
    setTimeout(connect, RETRY_DELAY);
  }

  // Another tab may have been let in anew.
  document.addEventListener("visibilitychange", () => {
    if (connection !== "over" || document.hidden) return;
    showState("connecting");
    connect();
  });

  function showState(state) {
    connection = state;
    const shown = state === "live" && isPaused ? "paused" : state;
    document.body.dataset.state = shown;
    write(at("status"), STATES[shown]);
  }

  // Data: laid out by its tokens alone, so that no number loses a digit.

  const TOKENS = /"(?:\\.|[^"\\])*"|[{}[\],:]|[^\s{}[\],:"]+/g;

  function parts(text) {
    try {
      JSON.parse(text);
    } catch {
      return null;
    }
    const found = text.match(TOKENS) ?? [];
    return found.map((token, index) => {
      if (/^[{}[\],:]$/.test(token)) return { token, kind: "" };
      if (token[0] !== '"') return { token, kind: "value" };
      return { token, kind: found[index + 1] === ":" ? "key" : "string" };
    });
  }

  function layOut(text, { isPretty }) {
    const found = parts(text);
    if (!found) return [text];
    const pieces = [];
    let depth = 0;
    const breakLine = () => pieces.push(isPretty ? `\n${"  ".repeat(depth)}` : "");
    found.forEach(({ token, kind }, index) => {
      const isEmpty = "{[".includes(token) && "}]".includes(found[index + 1]?.token);
      const closesEmpty = "}]".includes(token) && "{[".includes(found[index - 1]?.token);
      if ("}]".includes(token) && !closesEmpty) {
        depth -= 1;
        breakLine();
      }
      pieces.push(kind ? make("span", { text: token, className: `json-${kind}` }) : token);
      if (token === ":") pieces.push(" ");
      if (token === "," && !isPretty) pieces.push(" ");
      if (token === ",") breakLine();
      if ("{[".includes(token) && !isEmpty) {
        depth += 1;
        breakLine();
      }
    });
    return pieces;
  }

  function dataOf(text) {
    const isPlain = !/^\s*[{[]/.test(text);
    if (text.length <= (isPlain ? 160 : 48)) return [make("code", {}, ...layOut(text, { isPretty: false }))];
    const excerpt = text.length > EXCERPT ? [`${text.slice(0, EXCERPT)}…`] : layOut(text, { isPretty: false });
    const details = make("details", {}, make("summary", {}, make("code", {}, ...excerpt)));
    // Laid out when it is first looked at: most never are.
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(make("pre", {}, ...layOut(text, { isPretty: true })));
    });
    return [details];
  }

  // Happenings

  function receive({ lost, list }) {
    if (isPaused) {
      waiting.push(...list);
      waitingLost += lost + Math.max(0, waiting.length - ROWS_KEPT);
      waiting = waiting.slice(-ROWS_KEPT);
      showWaiting();
      return;
    }
    for (const happening of list) add(rowOf(happening));
    // Above those that came after: below them it might be cut off with the oldest.
    if (lost) add(noteOf(`${lost} more happened before these than could be shown.`));
    trim();
    applyFilter();
  }

  function rowOf(happening) {
    const { channel = "", data, receivers = "", text = "", from } = happening;
    const content = make("td", { role: "cell", className: "data" }, ...(data === undefined ? [text] : dataOf(data)));
    if (from) content.append(make("span", { text: `from ${from}`, className: "from" }));
    const row = make(
      "tr",
      { role: "row", className: happening.kind },
      make("td", { role: "cell", className: "time" }, make("time", { text: clock.format(happening.time) })),
      make("td", { text: happening.name, role: "cell", className: "name" }),
      make("td", { text: channel, role: "cell", className: "channel" }),
      content,
      make("td", { text: receivers, role: "cell", className: "receivers number" }),
    );
    row.dataset.channel = channel;
    return row;
  }

  function noteOf(text) {
    return make("tr", { role: "row", className: "note" }, make("td", { text, role: "cell", colspan: 5 }));
  }

  function add(row) {
    happenings.prepend(row);
  }

  function trim() {
    while (happenings.rows.length > ROWS_KEPT) remove(happenings.lastElementChild, at("events-title"));
  }

  // Whoever stood in a row that goes is left at its heading, not at the start of the page.
  function remove(row, heading) {
    if (row.contains(document.activeElement)) heading.focus();
    row.remove();
  }

  function isWanted(row) {
    const channel = at("filter").value.trim();
    const kind = at("kinds").value;
    if (row.classList.contains("note")) return true;
    return (!channel || row.dataset.channel.includes(channel)) && (kind === "all" || row.classList.contains(kind));
  }

  function applyFilter() {
    const rows = [...happenings.rows];
    for (const row of rows) row.hidden = !isWanted(row);
    const shown = rows.filter((row) => !row.hidden).length;
    write(at("events-count"), shown === rows.length ? `${shown || ""}` : `${shown} of ${rows.length}`);
    let nothing = "";
    if (!rows.length) nothing = "Nothing has happened since this page was opened.";
    else if (!shown) nothing = "None of it passes the filter.";
    write(at("nothing"), nothing);
  }

  function showWaiting() {
    write(at("waiting"), waiting.length ? `${waiting.length} waiting` : "");
  }

  at("filter").addEventListener("input", applyFilter);
  at("kinds").addEventListener("input", applyFilter);

  at("pause").addEventListener("click", () => {
    isPaused = !isPaused;
    at("pause").setAttribute("aria-pressed", isPaused);
    showState(connection);
    if (isPaused) return;
    const missed = { lost: waitingLost, list: waiting };
    waiting = [];
    waitingLost = 0;
    showWaiting();
    receive(missed);
  });

  at("clear").addEventListener("click", () => {
    happenings.replaceChildren();
    waiting = [];
    waitingLost = 0;
    showWaiting();
    applyFilter();
  });

  // Who is here

  function showOverview({ app, connections, channels, ...rest }) {
    if (isFirstOverview && instance !== null) {
      const isSame = rest.instance === instance;
      add(noteOf(isSame ? "Connected again. What happened meanwhile is not shown." : "The server has started anew."));
      trim();
      applyFilter();
    }
    isFirstOverview = false;
    instance = rest.instance;
    write(at("app"), `App ${app.id}, key ${app.key}`);
    channels.list.sort((one, other) => (one.name < other.name ? -1 : 1));
    showList("channels", channels, (one) => one.name, makeChannel, fillChannel);
    showList("connections", connections, (one) => one.socket_id, makeConnection, fillConnection);
    showNames(channels.list.map((one) => one.name));
  }

  // Rows are kept as they are while what they stand for is there: the focus stays where it was.
  function showList(id, { total, list }, keyOf, makeRow, fillRow) {
    const body = at(id);
    const rows = new Map([...body.rows].map((row) => [row.dataset.key, row]));
    write(at(`${id}-count`), `${total}`);
    write(at(`${id}-more`), total > list.length ? `and ${total - list.length} more` : "");
    const wanted = list.map((item) => {
      const key = keyOf(item);
      const row = rows.get(key) ?? makeRow(item);
      rows.delete(key);
      row.dataset.key = key;
      fillRow(row, item);
      return row;
    });
    for (const row of rows.values()) remove(row, at(`${id}-title`));
    wanted.forEach((row, index) => {
      if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    });
  }

  function makeChannel({ name, members }) {
    const button = make("button", { text: name, type: "button", className: "link", title: "Show the events of this channel only" });
    button.addEventListener("click", () => {
      at("filter").value = at("filter").value === name ? "" : name;
      applyFilter();
    });
    const cell = make("td", {}, button);
    if (members) cell.append(make("details", { className: "members" }, make("summary"), make("ul")));
    return make("tr", {}, cell, make("td", { className: "kind" }), make("td", { className: "number" }));
  }

  function fillChannel(row, { kind, subscriptions, members }) {
    const [first, second, third] = row.cells;
    write(second, kind);
    write(third, `${subscriptions}`);
    if (!members) return;
    const details = first.querySelector("details");
    write(details.firstElementChild, members.total === 1 ? "1 member" : `${members.total} members`);
    const list = details.querySelector("ul");
    const texts = members.list.map(({ id, info }) => (info === "{}" ? id : `${id} ${info}`));
    if (members.total > members.list.length) texts.push(`and ${members.total - members.list.length} more`);
    if (list.dataset.texts === JSON.stringify(texts)) return;
    list.dataset.texts = JSON.stringify(texts);
    list.replaceChildren(
      ...members.list.map(({ id, info }) => make("li", {}, make("b", { text: id }), info === "{}" ? "" : ` ${info}`)),
    );
    if (texts.length > members.list.length) list.append(make("li", { text: texts.at(-1) }));
  }

  function makeConnection({ socket_id: id }) {
    return make("tr", {}, make("td", { text: id, className: "socket" }), make("td", { className: "user" }), make("td"));
  }

  function fillConnection(row, { user_id: user, channels }) {
    write(row.cells[1], user ?? "");
    const more = channels.total - channels.list.length;
    write(row.cells[2], [...channels.list, ...(more ? [`and ${more} more`] : [])].join(", "));
  }

  function showNames(names) {
    const list = at("channel-names");
    if ([...list.children].map((option) => option.value).join() === names.join()) return;
    list.replaceChildren(...names.map((name) => make("option", { value: name })));
  }

  // Sending

  const form = at("send");

  function showErrors(errors) {
    for (const name of ["channel", "event", "data"]) {
      write(at(`${name}-error`), errors[name] ?? "");
      if (errors[name]) at(name).setAttribute("aria-invalid", "true");
      else at(name).removeAttribute("aria-invalid");
    }
    const [first] = Object.keys(errors);
    if (first) at(first).focus();
  }

  async function send() {
    const answer = await fetch("events", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(Object.fromEntries(new FormData(form))),
    });
    if (!answer.ok && answer.status !== 422) throw new Error(`the server answered ${answer.status}`);
    const { errors = {}, receivers } = await answer.json();
    showErrors(errors);
    if (Object.keys(errors).length) return "Not sent.";
    return receivers === 1 ? "Sent to 1 subscriber." : `Sent to ${receivers} subscribers.`;
  }

  form.addEventListener("submit", async (submission) => {
    submission.preventDefault();
    // Emptied first, so that the same words are spoken again.
    write(at("sent"), "");
    try {
      write(at("sent"), await send());
    } catch (error) {
      write(at("sent"), `Not sent: ${error.message}.`);
    }
  });

  applyFilter();
  connect();
})();
