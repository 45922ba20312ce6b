// One connection for the whole page, shared by every <pusherable-subscribe> element and by scripts.
(() => {
  "use strict";

  // Turbo and htmx may run the file again: what is there stays.
  if (window.pusherable) return;

  const config = JSON.parse(document.currentScript?.dataset.config ?? "null");
  const channels = new Map(); // name -> { channel, listeners, refusal }
  const isStreaming = config?.transport === "sse";
  const origins = recallOrigins();
  const ORIGINS_KEPT = 200;
  let pusher;
  let state = "initialized";
  let isComplainedOf = false;

  const gaps = new Set(); // Channels on which something may have been missed.
  const GATHERING = 50; // Milliseconds in which the server names them all.

  // Authorizing: what is asked for in one moment goes out as one request.
  const BATCH_SIZE = 100; // The server takes no more at once.
  const ANSWER_TIMEOUT = 20_000;
  const LONGEST_PAUSE = 60_000;
  const REFUSALS_NAMED = 5;
  const waiting = [];
  let csrfToken = "";

  // Coming back after the service has ended the connections of a user.
  const USER_DISCONNECTED = 4009;
  const FIRST_COMEBACK = 1000;
  const LAST_COMEBACK = 300_000;
  const WELCOME_AFTER = 60_000; // Who stays as long as this is not being kept out.
  let comebacks = 0;
  let connectedAt = 0;
  let endedWith;

  const NAMES_TOLD = 3; // At once, of those who come or leave.

  const SOCKET_HEADER = "X-Socket-ID";
  const SOCKET_FIELD = "pusherable_socket_id";
  const plainFetch = window.fetch;

  // The connection

  function pusherOptions() {
    // Without this pusher-js falls back to hosted Pusher and shows it the key.
    const { auth, ...options } = { ...config, enabledTransports: ["ws"] };
    if (auth) {
      const ask = ({ socketId, channelName }, done) => gather({ socketId, channel: channelName, done });
      options.channelAuthorization = { customHandler: ask };
      options.userAuthentication = { customHandler: ask };
    }
    if (!("wsHost" in options)) return options;
    const secure = location.protocol === "https:";
    const port = Number(location.port) || (secure ? 443 : 80);
    options.wsHost ??= location.hostname;
    options.wsPort ??= port;
    options.wssPort ??= port;
    options.forceTLS ??= secure;
    return options;
  }

  function streamOptions() {
    const secure = config.forceTLS || location.protocol === "https:";
    const port = secure ? config.wssPort : config.wsPort;
    const host = port ? `${config.wsHost ?? location.hostname}:${port}` : location.host;
    return {
      address: `${secure ? "https" : "http"}://${host}${config.wsPath ?? ""}/stream`,
      key: config.key,
      limit: config.channelLimit,
      authorize: authorizeStream,
      resync: askToReload,
    };
  }

  function connect() {
    if (pusher !== undefined) return pusher;
    if (!config) return fail("the service is not configured; the log of the web server says why.");
    const client = isStreaming ? "streams.js" : "pusher-js";
    if (!window[isStreaming ? "PusherableStreams" : "Pusher"]) {
      return fail(`${client} did not load, so this page hears of nothing.`);
    }
    pusher = isStreaming
      ? new window.PusherableStreams(streamOptions())
      : new window.Pusher(config.key, pusherOptions());
    pusher.connection.bind("error", (error) => noteEnd((error?.error ?? error)?.data?.code));
    pusher.connection.bind("state_change", ({ previous, current }) => {
      if (current === "connected") connectedAt = performance.now();
      setState(current);
      if (previous === "connected" && current === "disconnected" && endedWith === USER_DISCONNECTED) comeBack();
    });
    // A connection that was lost calls itself "connected" until the next attempt.
    pusher.connection.bind("connecting_in", () => setState("connecting"));
    pusher.user.bind_global(receiveForUser);
    setState(pusher.connection.state);
    tellRequests();
    return pusher;
  }

  /** The code belongs to what pusher-js does next, in this same task. */
  function noteEnd(code) {
    endedWith = code;
    queueMicrotask(() => {
      endedWith = undefined;
    });
  }

  /** A user whose connections were ended, by a logout elsewhere, is a visitor again; pusher-js stays away (A.53). */
  function comeBack() {
    if (performance.now() - connectedAt > WELCOME_AFTER) comebacks = 0;
    const pause = Math.min(FIRST_COMEBACK * 5 ** comebacks, LAST_COMEBACK) * (1 + Math.random() / 4);
    comebacks += 1;
    setState("connecting");
    setTimeout(() => {
      if (pusher.connection.state === "disconnected") pusher.connect();
    }, pause);
  }

  function fail(reason) {
    pusher = null;
    setState("failed");
    console.error(`pusherable: ${reason}`);
    return pusher;
  }

  function complainOfNoPusher() {
    if (isComplainedOf) return;
    isComplainedOf = true;
    console.error(
      "pusherable: there is no pusher-js with event streams: client events and whatever else is its own take " +
        'PUSHERABLE_TRANSPORT = "websocket".',
    );
  }

  function setState(current) {
    state = current;
    document.documentElement.dataset.pusherable = current;
    for (const entry of channels.values()) showConfirmed(entry);
  }

  // Channels

  function listen(name, listener) {
    const entry = channels.get(name) ?? join(name);
    if (!entry) return () => {};
    entry.listeners.add(listener);
    showConfirmed(entry);
    if (entry.channel.subscribed) meet(entry, [listener]);
    // Content that is added for a refused channel may come from a page with which it is allowed.
    if (entry.refusal) pusher.subscribe(name);
    if (entry.refusal) listener.refuse?.(entry.refusal);
    return () => {
      entry.listeners.delete(listener);
      // Later, so that an element that moves, or comes back with a new body, keeps its channel.
      setTimeout(leave, 0, name);
    };
  }

  function join(name) {
    if (!connect()) return null;
    if (name.startsWith("private-encrypted-") && !pusher.config?.nacl) {
      const need = isStreaming
        ? "is encrypted, and takes a WebSocket: event streams have no pusher-js to read it"
        : "takes the build of {% pusherable_script encrypted=True %}";
      console.error(`pusherable: ${name} ${need}.`);
      return null;
    }
    const entry = { channel: pusher.subscribe(name), listeners: new Set(), refusal: null };
    channels.set(name, entry);
    entry.channel.bind_global((event, data) => receive(name, event, data));
    if (config.auth?.signIn && /^(private|presence)-/.test(name)) pusher.signin();
    return entry;
  }

  function leave(name) {
    const entry = channels.get(name);
    // pusher-js forgets a cancellation when it reconnects: a pending subscription ends with its answer.
    if (!entry || entry.listeners.size || entry.channel.subscriptionPending) return;
    channels.delete(name);
    pusher.unsubscribe(name);
  }

  function showConfirmed({ channel, listeners }) {
    const confirmed = state === "connected" && channel.subscribed;
    for (const listener of listeners) listener.confirm?.(confirmed);
  }

  function showRefused(entry, refusal) {
    if (!entry || entry.refusal === refusal) return;
    entry.refusal = refusal;
    for (const listener of entry.listeners) guard(() => listener.refuse?.(refusal));
  }

  function receive(name, event, data) {
    const entry = channels.get(name);
    if (!entry) return;
    if (event === "pusher:subscription_succeeded") showRefused(entry, null);
    if (event === "pusher:subscription_error" && !entry.refusal) {
      showRefused(entry, { code: "", reason: data?.error ?? "" });
    }
    if (event.startsWith("pusher:subscription_")) {
      showConfirmed(entry);
      leave(name);
    }
    if (/^pusher:(subscription_succeeded|member_)/.test(event)) meet(entry, entry.listeners);
    if (event === "pusher:resync") noteGap(name);
    if (isOwn(data)) return;
    const detail = { event, data, channel: name };
    const listeners = [...entry.listeners].filter((listener) => listener.event === event);
    if (listeners.some((listener) => listener.notifies)) guard(notify, detail);
    for (const listener of listeners) {
      if (entry.listeners.has(listener)) guard(listener.call, detail);
    }
  }

  function notify({ event, data }) {
    if (typeof window.pusherable_notify === "function") window.pusherable_notify(event, data);
  }

  /** What was sent to the visitor, and not to a channel, has the document for its place. */
  function receiveForUser(event, data) {
    const channel = `#server-to-user-${pusher.user.user_data?.id}`;
    if (event === "pusher:resync") noteGap(channel);
    if (event.startsWith("pusher:") || isOwn(data)) return;
    const detail = { event, data, channel };
    guard(notify, detail);
    announce(document, detail, "");
  }

  /** A server whose processes have lost sight of each other tells it of one channel after the other. */
  function noteGap(name) {
    if (!gaps.size) {
      setTimeout(() => {
        const names = [...gaps];
        gaps.clear();
        askToReload(names);
      }, GATHERING);
    }
    gaps.add(name);
  }

  /** Something may have been missed on these channels: a page that shows what was on them loads it anew. */
  function askToReload(names) {
    if (typeof window.pusherable_resync === "function") guard(window.pusherable_resync, names);
    document.dispatchEvent(new CustomEvent("pusherable:resync", { detail: { channels: names } }));
  }

  /** One listener that fails keeps no other from its event. */
  function guard(call, detail) {
    try {
      call(detail);
    } catch (error) {
      reportError(error);
    }
  }

  /** Dispatch the event at `place`, and show it in the page's lists unless somebody has taken care of it. */
  function announce(place, detail, label) {
    const options = { bubbles: true, cancelable: true, composed: true, detail };
    if (!place.dispatchEvent(new CustomEvent(`pusherable:${detail.event}`, options))) return;
    for (const list of document.querySelectorAll("pusherable-notifications")) list.show(detail, label);
  }

  // Who is there

  function meet({ channel }, listeners) {
    if (!channel.members) return;
    const members = [];
    channel.members.each(({ id, info }) => members.push({ id, info, isMe: id === String(channel.members.myID) }));
    for (const listener of [...listeners]) guard(() => listener.meet?.(members));
  }

  // Authorizing

  function gather(job) {
    if (job.channel) showRefused(channels.get(job.channel), null);
    if (waiting.push(job) === 1) setTimeout(ask, 0);
  }

  function ask() {
    const jobs = waiting.splice(0);
    for (let first = 0; first < jobs.length; first += BATCH_SIZE) {
      authorize(jobs.slice(first, first + BATCH_SIZE), 0);
    }
  }

  /** Jobs of a connection that is gone end without an answer: pusher-js asks anew when it is back. */
  async function authorize(jobs, attempt) {
    const current = jobs.filter(({ socketId }) => socketId === socketIdNow());
    const wanted = current.filter(({ channel }) => !channel || channels.get(channel)?.listeners.size !== 0);
    for (const job of current) {
      if (!wanted.includes(job)) job.done(new Error("Nobody waits for it any more."));
    }
    if (!wanted.length) return;
    const { socketId } = wanted[0];
    const names = wanted.map(({ channel }) => channel).filter(Boolean);
    const isSigningIn = names.length < wanted.length;
    const answer = await post(formOf(names, { socket_id: socketId }, isSigningIn));
    if (answer.isPassing) {
      setTimeout(authorize, pauseBefore(attempt, answer.after), wanted, attempt + 1);
    } else {
      settle(wanted.filter(({ socketId }) => socketId === socketIdNow()), answer);
    }
  }

  function pauseBefore(attempt, after) {
    const pause = Math.max(1000 * 2 ** attempt, (Number(after) || 0) * 1000);
    return Math.min(pause, LONGEST_PAUSE) * (1 + Math.random() / 4);
  }

  /** The query of a stream's address that the site has signed, with those of the channels that it refuses left out. */
  async function authorizeStream(names, isSigningIn) {
    const answer = config.auth
      ? await post(formOf(names, { stream: "1" }, isSigningIn))
      : { refusal: { code: "", reason: "The site has no address that authorizes channels." } };
    if (answer.isPassing) return answer;
    const refused = [];
    const done = (channel) => (error) => error && refused.push(channel);
    settle(names.map((channel) => ({ channel, done: done(channel) })), answer);
    return { query: answer.query, user: answer.user, refused };
  }

  async function post(form) {
    let response;
    try {
      response = await plainFetch(config.auth.url, {
        method: "POST",
        body: form,
        headers: { Accept: "application/json", [config.auth.csrf.header]: readCsrfToken() },
        redirect: "manual",
        signal: AbortSignal.timeout(ANSWER_TIMEOUT),
      });
    } catch {
      return { isPassing: true };
    }
    if (response.status >= 500 || response.status === 429) {
      return { isPassing: true, after: response.headers.get("Retry-After") };
    }
    const body = await response.json().catch(() => null);
    return response.ok && body ? body : { refusal: explain(response, body) };
  }

  function formOf(names, receiver, isSigningIn) {
    const form = new URLSearchParams(receiver);
    for (const [index, name] of names.entries()) {
      form.set(`channel_name[${index}]`, name);
      const page = pageOf(name);
      if (page) form.set(`page[${index}]`, page);
    }
    if (isSigningIn) form.set("signin", "1");
    return form;
  }

  /** Where the subscription comes from, as the newest of those that share it says. */
  function pageOf(name) {
    return [...(channels.get(name)?.listeners ?? [])].findLast(({ page }) => page)?.page;
  }

  function explain(response, body) {
    if (response.type === "opaqueredirect") return { code: "redirected", reason: "The answer is a redirect." };
    if (body?.reason) return { code: body.code ?? "", reason: body.reason };
    if (response.status === 403 && !body) {
      return { code: "csrf", reason: "403: the CSRF token is missing or old. Reload the page." };
    }
    return { code: body?.code ?? "", reason: `The answer is ${response.status}.` };
  }

  function settle(jobs, answer) {
    const refused = [];
    for (const { channel, done } of jobs) {
      if (!channel) {
        if (answer.user) done(null, answer.user);
        else done(new Error("Nobody is signed in."));
        continue;
      }
      const { status, data } = answer.channels?.[channel] ?? {};
      if (status === 200) {
        done(null, data);
        continue;
      }
      const refusal = answer.refusal ?? { code: data?.code ?? "", reason: data?.reason ?? "" };
      refused.push(`${channel}${refusal.reason && !answer.refusal ? ` (${refusal.reason})` : ""}`);
      showRefused(channels.get(channel), refusal);
      done(new Error(refusal.reason || "Refused."));
    }
    complain(refused, answer.refusal);
  }

  function complain(refused, refusal) {
    if (!refused.length) return;
    const named = refused.slice(0, REFUSALS_NAMED).join(", ");
    const others = refused.length > REFUSALS_NAMED ? ` and ${refused.length - REFUSALS_NAMED} more` : "";
    const reason = refusal ? ` ${config.auth ? `${config.auth.url}: ` : ""}${refusal.reason}` : "";
    console.warn(`pusherable: this page may not listen to ${named}${others}.${reason}`);
  }

  /** At each call, since the token changes at every login; the cookie goes before what an old page says. */
  function readCsrfToken() {
    rememberPage();
    const name = config.auth.csrf.cookie;
    const cookie = document.cookie.split("; ").find((one) => name && one.startsWith(`${name}=`));
    return cookie ? decodeURIComponent(cookie.slice(name.length + 1)) : csrfToken;
  }

  // Leaving this tab out of what it causes itself

  function socketIdNow() {
    return state === "connected" ? pusher.connection.socket_id : null;
  }

  function isOwnAddress(url) {
    try {
      return new URL(url, document.baseURI).origin === location.origin;
    } catch {
      return false;
    }
  }

  /** Let requests to this site say which connection they come from, so that it need not hear of them. */
  function tellRequests() {
    window.fetch = (input, init) => plainFetch.apply(window, withSocketId(input, init));
    const { open, send, setRequestHeader } = XMLHttpRequest.prototype;
    const untold = new WeakSet();
    XMLHttpRequest.prototype.open = function (method, url, ...rest) {
      open.call(this, method, url, ...rest);
      untold[isOwnAddress(url) ? "add" : "delete"](this);
    };
    XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
      setRequestHeader.call(this, name, value);
      if (String(name).toLowerCase() === SOCKET_HEADER.toLowerCase()) untold.delete(this);
    };
    XMLHttpRequest.prototype.send = function (...body) {
      const socketId = socketIdNow();
      if (socketId && untold.delete(this)) setRequestHeader.call(this, SOCKET_HEADER, socketId);
      send.apply(this, body);
    };
  }

  /** The arguments of `fetch`, with the header where it belongs; all else, bodies above all, as it was. */
  function withSocketId(input, init) {
    const asGiven = init === undefined ? [input] : [input, init];
    const socketId = socketIdNow();
    const request = input instanceof Request ? input : null;
    const isPlain = init == null || [Object.prototype, null].includes(Object.getPrototypeOf(init));
    if (!socketId || !isPlain || !isOwnAddress(request?.url ?? input)) return asGiven;
    try {
      const headers = new Headers(init?.headers ?? request?.headers);
      if (headers.has(SOCKET_HEADER)) return asGiven;
      headers.set(SOCKET_HEADER, socketId);
      // A request that is given options forgets where it came from.
      const kept = request ? { referrer: request.referrer, referrerPolicy: request.referrerPolicy } : {};
      return [input, { ...kept, ...init, headers }];
    } catch {
      // What is wrong with these headers is for `fetch` to say.
      return asGiven;
    }
  }

  // When a form's values are gathered, however it is sent: so no id in it outlives its connection.
  addEventListener("formdata", ({ target, formData }) => {
    if (!target.hasAttribute("data-pusherable-exclude")) return;
    const isPost = target.getAttribute("method")?.toLowerCase() === "post";
    const socketId = isPost && isOwnAddress(target.getAttribute("action") ?? "") && socketIdNow();
    if (socketId) formData.set(SOCKET_FIELD, socketId);
    else formData.delete(SOCKET_FIELD);
  });

  // What this page itself has caused

  /** Those of this tab's earlier pages: an event may be slower than the next page. */
  function recallOrigins() {
    try {
      return new Set(JSON.parse(sessionStorage.getItem("pusherable.origins")));
    } catch {
      return new Set();
    }
  }

  function remember(origin) {
    if (!origin || origins.has(origin)) return;
    origins.add(origin);
    if (origins.size > ORIGINS_KEPT) origins.delete(origins.values().next().value);
    try {
      sessionStorage.setItem("pusherable.origins", JSON.stringify([...origins]));
    } catch {
      // A browser that keeps nothing still has those of this page.
    }
  }

  function rememberPage() {
    for (const meta of document.querySelectorAll("meta[name=pusherable-origin]")) remember(meta.content);
    for (const meta of document.querySelectorAll("meta[name=pusherable-csrf]")) csrfToken = meta.content;
  }

  /** Left by the answer to a form that led here. Later ones are other tabs', of which this page has to hear. */
  function rememberForm() {
    remember(/(?:^|; )pusherable_origin=([\w-]+)/.exec(document.cookie)?.[1]);
  }

  function isOwn(data) {
    rememberPage();
    return origins.has(data?.origin);
  }

  // Elements

  /** An element that listens to its channel while it is in the document, and shows whether it may. */
  class Listening extends HTMLElement {
    #present = false;
    #release = null;

    connectedCallback() {
      this.#present = true;
      this.#subscribe();
    }

    disconnectedCallback() {
      this.#present = false;
      this.#subscribe();
    }

    attributeChangedCallback() {
      if (this.#present) this.#subscribe();
    }

    /** Make ready for another channel, or none. */
    reset() {}

    /** What the element does as a listener of `listen`; null as long as something is missing. */
    makeListener() {
      return null;
    }

    confirm(confirmed) {
      this.toggleAttribute("subscribed", confirmed);
    }

    #subscribe() {
      this.#release?.();
      this.#release = null;
      this.confirm(false);
      this.removeAttribute("refused");
      rememberPage();
      remember(this.getAttribute("origin"));
      this.reset();
      const channel = this.getAttribute("channel");
      const listener = this.#present && channel ? this.makeListener() : null;
      if (!listener) return;
      listener.page = this.getAttribute("page");
      listener.confirm = (confirmed) => this.confirm(confirmed);
      listener.refuse = (refusal) => this.#refuse(channel, refusal);
      this.#release = listen(channel, listener);
    }

    #refuse(channel, refusal) {
      if (!refusal) {
        this.removeAttribute("refused");
        return;
      }
      this.setAttribute("refused", refusal.code);
      const options = { bubbles: true, composed: true, detail: { channel, ...refusal } };
      this.dispatchEvent(new CustomEvent("pusherable:refused", options));
    }
  }

  class Subscription extends Listening {
    static observedAttributes = ["channel", "event", "origin", "page"];

    makeListener() {
      const event = this.getAttribute("event");
      const call = (detail) => announce(this, detail, this.getAttribute("label"));
      return event ? { event, notifies: true, call } : null;
    }
  }

  class Presence extends Listening {
    static observedAttributes = ["channel", "page"];
    #members = null; // The names by id, once they are known.
    #told = null; // The same as it was before the first change that is not told yet.
    #timer;

    constructor() {
      super();
      this.addEventListener("click", ({ target }) => {
        if (target.closest("[data-part=more]")) this.#unfold();
      });
    }

    reset() {
      // A copy of the page (the caches of Turbo and htmx) brings those along who were there then.
      this.#part("members")?.replaceChildren();
    }

    makeListener() {
      return { meet: (members) => this.#show(members) };
    }

    confirm(confirmed) {
      super.confirm(confirmed);
      if (confirmed) return;
      // Who is there after an interruption has not just come.
      this.#members = this.#told = null;
      clearTimeout(this.#timer);
    }

    #part(name) {
      return this.querySelector(`[data-part=${name}]`);
    }

    #show(members) {
      const named = members.map((member) => ({ ...member, name: this.#nameOf(member) }));
      named.sort(byName);
      const before = this.#members;
      this.#members = new Map(named.map(({ id, name }) => [id, name]));
      if (before) this.#note(before);
      this.#list(named);
      this.#write("count", this.#sentence("count", named.length));
      this.#fold();
    }

    #nameOf({ info }) {
      return typeof info?.name === "string" && info.name ? info.name : this.dataset.someone;
    }

    /** Leave the item of who stays where it is, so that the focus and a screen reader keep their place. */
    #list(members) {
      const list = this.#part("members");
      const items = new Map([...list.children].map((item) => [item.dataset.member, item]));
      for (const [id, item] of items) {
        if (!this.#members.has(id)) item.remove();
      }
      for (const [index, member] of members.entries()) {
        const item = items.get(member.id) ?? this.#item(member);
        if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
      }
    }

    #item({ id, info, name, isMe }) {
      const item = this.querySelector("template").content.firstElementChild.cloneNode(true);
      item.dataset.member = id;
      item.toggleAttribute("data-me", isMe);
      const texts = { ...info, name, initial: [...name][0].toUpperCase() };
      for (const part of item.querySelectorAll("[data-part]")) {
        const text = Object.hasOwn(texts, part.dataset.part) ? texts[part.dataset.part] : undefined;
        if (["string", "number"].includes(typeof text)) part.textContent = text;
      }
      for (const part of item.querySelectorAll("[data-part=you]")) part.hidden = !isMe;
      return item;
    }

    /** Show the first of them, and how many more there are. */
    #fold() {
      const items = [...this.#part("members").children];
      const more = this.#part("more");
      const limit = Number(this.dataset.limit) || items.length;
      // To fold a single one away would save nothing.
      more.hidden = items.length <= limit + 1;
      const isFolded = !more.hidden && more.ariaExpanded !== "true";
      for (const [index, item] of items.entries()) item.hidden = isFolded && index >= limit;
      this.#write("more", isFolded ? this.#sentence("more", items.length - limit) : this.dataset.fewer);
    }

    #unfold() {
      const more = this.#part("more");
      more.ariaExpanded = more.ariaExpanded === "true" ? "false" : "true";
      this.#fold();
    }

    #sentence(kind, count, names = "") {
      const form = this.dataset[`${kind}${formOfPlural(this, count)}`] ?? this.dataset[`${kind}Other`] ?? "";
      return form.replaceAll("{count}", count).replaceAll("{names}", () => names);
    }

    #write(part, text) {
      const element = this.#part(part);
      if (element && element.textContent !== text) element.textContent = text;
    }

    /** Gather who comes and goes for a moment: who reloads a page has done neither. */
    #note(before) {
      this.#told ??= before;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#announce(), Number(this.dataset.quiet) * 1000);
    }

    #announce() {
      const [before, now] = [this.#told, this.#members];
      this.#told = null;
      const joined = [...now].filter(([id]) => !before.has(id));
      const left = [...before].filter(([id]) => !now.has(id));
      const sentences = [this.#tell("joined", joined), this.#tell("left", left)].filter(Boolean);
      if (sentences.length) this.#write("announcement", sentences.join(" "));
    }

    #tell(kind, members) {
      if (!members.length) return "";
      const names = members.slice(0, NAMES_TOLD).map(([, name]) => name).join(", ");
      if (members.length <= NAMES_TOLD) return this.#sentence(kind, members.length, names);
      return this.#sentence(kind, members.length, this.#sentence("many", members.length));
    }
  }

  /** The visitor first, then by name; the id keeps those of one name apart. */
  function byName(one, other) {
    return other.isMe - one.isMe || one.name.localeCompare(other.name) || (one.id < other.id ? -1 : 1);
  }

  /** "One", "Other" and so on, by the language of the page. */
  function formOfPlural(element, count) {
    let rules;
    try {
      rules = new Intl.PluralRules(element.closest("[lang]")?.lang || undefined);
    } catch {
      rules = new Intl.PluralRules("en");
    }
    const form = rules.select(count);
    return form[0].toUpperCase() + form.slice(1);
  }

  class Notifications extends HTMLElement {
    #timers = new Map();
    #cameFrom = null;

    constructor() {
      super();
      this.addEventListener("click", ({ target }) => {
        if (target.closest("button")) this.#dismiss(this.#toastOf(target));
      });
      this.addEventListener("keydown", ({ key, target }) => {
        if (key === "Escape") this.#dismiss(this.#toastOf(target));
      });
      this.addEventListener("focusin", ({ relatedTarget }) => {
        if (!this.contains(relatedTarget)) this.#cameFrom = relatedTarget;
      });
    }

    connectedCallback() {
      // A copy of the page (the caches of Turbo and htmx) brings old messages along, without their timers.
      for (const toast of [...this.#list().children]) {
        if (!this.#timers.has(toast)) toast.remove();
      }
    }

    /** Show one message; `label` says what it is about. A message that is still shown is not repeated. */
    show({ event, data }, label) {
      const list = this.#list();
      const toast = this.querySelector("template").content.firstElementChild.cloneNode(true);
      toast.dataset.event = event;
      toast.querySelector("[data-part=label]").textContent = label ?? "";
      toast.querySelector("[data-part=text]").textContent = this.#sentence(event, data);
      const shown = [...list.children].find((other) => other.textContent === toast.textContent);
      if (!shown) {
        this.#makeRoom(list);
        list.append(toast);
      }
      this.#expire(shown ?? toast);
    }

    #list() {
      return this.querySelector("[aria-live]");
    }

    #toastOf(element) {
      return [...this.#timers.keys()].find((toast) => toast.contains(element));
    }

    #sentence(event, data) {
      const message = typeof data === "string" ? data : data?.message;
      if (typeof message === "string") return message;
      const named = typeof data?.user === "string";
      const sentence = this.getAttribute(`data-text-${event}`) ?? (named ? this.dataset.generic : "{event}");
      const words = { event, user: data?.user || this.dataset.someone };
      return sentence.replaceAll(/\{(user|event)\}/g, (_, word) => words[word]);
    }

    #makeRoom(list) {
      const idle = [...list.children].filter((toast) => !toast.contains(document.activeElement));
      const surplus = list.children.length + 1 - this.dataset.limit;
      for (const toast of idle.slice(0, Math.max(surplus, 0))) this.#dismiss(toast);
    }

    #expire(toast) {
      clearTimeout(this.#timers.get(toast));
      // Nobody is hurried who is reading, or looks at another tab.
      const look = () => (this.#isHeld() ? this.#expire(toast) : this.#dismiss(toast));
      const seconds = Number(this.dataset.seconds);
      this.#timers.set(toast, seconds ? setTimeout(look, seconds * 1000) : undefined);
    }

    #isHeld() {
      return document.hidden || this.matches(":hover, :has(:focus-visible)");
    }

    #dismiss(toast) {
      if (!toast) return;
      const next = toast.nextElementSibling ?? toast.previousElementSibling;
      if (toast.contains(document.activeElement)) (next?.querySelector("button") ?? this.#cameFrom)?.focus();
      clearTimeout(this.#timers.get(toast));
      this.#timers.delete(toast);
      toast.remove();
    }
  }

  // A page that the browser keeps for its back button gives its connection up, and takes it again.
  let isResting = false;
  addEventListener("pagehide", ({ persisted }) => {
    if (!persisted || state !== "connected") return;
    isResting = true;
    pusher.disconnect();
  });
  addEventListener("pageshow", () => {
    if (isResting) pusher.connect();
    isResting = false;
  });

  window.pusherable = {
    /** Call `callback(data, {event, channel})` for each such event; returns a function that ends it. */
    on(channel, event, callback, { page } = {}) {
      return listen(channel, { event, page, call: ({ data }) => callback(data, { event, channel }) });
    },
    /** Call `callback(data, {event})` for what is sent to this visitor alone; returns a function that ends it. */
    onUser(event, callback) {
      const user = connect()?.user;
      if (!user) return () => {};
      if (config.auth?.signIn) pusher.signin();
      const call = (data) => guard(() => callback(data, { event }));
      user.bind(event, call);
      return () => user.unbind(event, call);
    },
    /** Call `callback(members)`, each `{id, info, isMe}`, now and at each change; returns a function that ends it. */
    presence(channel, callback, { page } = {}) {
      return listen(channel, { page, meet: (members) => callback(members) });
    },
    /** The Pusher object of pusher-js, made at the first need; null where it could not be made. */
    get pusher() {
      if (!isStreaming) return connect();
      complainOfNoPusher();
      return null;
    },
    /** The id of this connection, for requests that say where they come from; null while there is none. */
    get socketId() {
      return socketIdNow();
    },
    /** What <html data-pusherable> shows too. */
    get state() {
      return state;
    },
  };
  rememberPage();
  rememberForm();
  setState(state);
  customElements.define("pusherable-subscribe", Subscription);
  customElements.define("pusherable-presence", Presence);
  customElements.define("pusherable-notifications", Notifications);
})();
