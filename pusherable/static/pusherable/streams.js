// Event streams in place of pusher-js: one request that stays open, behind as much of its face as pusherable.js needs.
(() => {
  "use strict";

  if (window.PusherableStreams) return;

  const GATHERING = 20; // What a page adds and removes within this time is one change.
  const FIRST_PAUSE = 1000;
  const LONGEST_PAUSE = 60_000;
  const UNAVAILABLE_AFTER = 10_000;
  const SILENCE = 75_000; // The server says something every half minute: such a silence is a lost connection.
  const LEGAL_NAME = /^[\w=@,.;-]{1,164}$/;
  const plainFetch = window.fetch;

  class Emitter {
    #listeners = new Map();
    #all = new Set();

    bind(event, call) {
      if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
      this.#listeners.get(event).add(call);
    }

    unbind(event, call) {
      this.#listeners.get(event)?.delete(call);
    }

    bind_global(call) {
      this.#all.add(call);
    }

    emit(event, data) {
      for (const call of [...(this.#listeners.get(event) ?? [])]) guard(() => call(data));
      for (const call of [...this.#all]) guard(() => call(event, data));
    }
  }

  function guard(call) {
    try {
      call();
    } catch (error) {
      reportError(error);
    }
  }

  class Members {
    #infos = new Map();

    constructor(myID) {
      this.myID = myID;
    }

    each(call) {
      for (const [id, info] of this.#infos) call({ id, info });
    }

    replace({ ids, hash }) {
      this.#infos = new Map(ids.map((id) => [id, hash[id]]));
    }

    add({ user_id: id, user_info: info }) {
      this.#infos.set(id, info);
      return { id, info };
    }

    remove({ user_id: id }) {
      const info = this.#infos.get(id);
      this.#infos.delete(id);
      return { id, info };
    }
  }

  class Channel extends Emitter {
    subscribed = false;
    subscriptionPending = false; // One that is given up before its answer is simply not in the next stream.
    members;

    constructor(name) {
      super();
      this.name = name;
    }

    /** What the server says itself, in the form in which pusher-js hands it on. */
    take(event, data, myID) {
      if (event === "pusher:subscription_succeeded") {
        const isKnown = this.subscribed;
        this.subscribed = true;
        if (data.presence) {
          this.members = new Members(myID);
          this.members.replace(data.presence);
        }
        // Of a stream that follows another without a gap nothing is new but who is there.
        if (!isKnown || this.members) this.emit(event, this.members ?? data);
      } else if (event === "pusher:member_added" || event === "pusher:member_removed") {
        this.emit(event, event === "pusher:member_added" ? this.members.add(data) : this.members.remove(data));
      } else {
        this.emit(event, data);
      }
    }
  }

  /** The blocks of a stream as they come: `{event, data, id, retry}`, each of them if it is there. */
  async function* read(body, isAlive) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      isAlive();
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield parse(block);
    }
  }

  function parse(block) {
    const fields = {};
    for (const line of block.split("\n")) {
      const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      fields[name] = name === "data" && "data" in fields ? `${fields.data}\n${value}` : value;
    }
    return fields;
  }

  /** Whose event it is: the server writes the channel behind the place that the id is. */
  function channelOf(id) {
    const slash = id.indexOf("/");
    return slash < 0 ? null : decodeURIComponent(id.slice(slash + 1));
  }

  function isSigned(name) {
    return /^(private|presence)-/.test(name);
  }

  function jittered(pause) {
    return Math.min(pause, LONGEST_PAUSE) * (1 + Math.random() / 4);
  }

  class Streams {
    connection = Object.assign(new Emitter(), { state: "connecting", socket_id: null });
    user = Object.assign(new Emitter(), { user_data: null });
    #options;
    #channels = new Map();
    #refused = new Set(); // Not asked for again before the next interruption, or until somebody wants them anew.
    #isSigningIn = false;
    #isOff = false;
    #attempt = null; // The stream that is on its way, and the one that is there.
    #feed = null;
    #isOutdated = false;
    #timer;
    #unavailable = null;
    #failures = 0;
    #complaints = new Set();
    #cursor = ""; // Where to go on, and for which channels: of others nothing was missed.
    #heard = new Set();
    #since = null; // The ids of what has come after the place where the next stream goes on.

    /**
     * `address` is that of the server's streams, `key` the app's, `limit` how many channels one may have.
     * `authorize(names, isSigningIn)` promises `{query, refused, user}`, or `{isPassing, after}` to be asked again.
     * `resync(names)` is told of channels on which something may have been missed.
     */
    constructor(options) {
      this.#options = options;
      addEventListener("online", () => {
        if (!this.#feed && !this.#attempt) this.#schedule(0);
      });
    }

    subscribe(name) {
      // The server would refuse the whole stream.
      if (!LEGAL_NAME.test(name)) throw new Error(`Cannot create a channel with name "${name}".`);
      if (!this.#channels.has(name)) this.#channels.set(name, new Channel(name));
      this.#refused.delete(name);
      this.#change();
      return this.#channels.get(name);
    }

    unsubscribe(name) {
      this.#channels.delete(name);
      this.#refused.delete(name);
      if (!this.#feed) this.#heard.delete(name);
      this.#change();
    }

    signin() {
      if (this.#isSigningIn) return;
      this.#isSigningIn = true;
      this.#change();
    }

    connect() {
      if (!this.#isOff) return;
      this.#isOff = false;
      this.#schedule(0);
    }

    disconnect() {
      this.#isOff = true;
      this.#give("disconnected");
    }

    // What is wanted

    #change() {
      if (this.#attempt) this.#isOutdated = true;
      else if (!this.#isOff) this.#schedule(GATHERING);
    }

    #schedule(pause) {
      clearTimeout(this.#timer);
      if (!this.#isOff) this.#timer = setTimeout(() => this.#open(), pause);
    }

    #wanted() {
      const names = [...this.#channels.keys()].filter((name) => !this.#refused.has(name));
      const limit = this.#options.limit - (this.#isSigningIn ? 1 : 0);
      const surplus = names.slice(limit);
      if (surplus.length) {
        const error = `A stream has up to ${this.#options.limit} channels.`;
        this.#complain(`this page does not hear of ${surplus.length} of its ${names.length} channels. ${error}`);
        for (const name of surplus) this.#channels.get(name).emit("pusher:subscription_error", { error });
      }
      return names.slice(0, limit);
    }

    // The stream

    async #open() {
      const feed = { abort: new AbortController(), names: [], query: new URLSearchParams(), seen: new Set() };
      this.#attempt = feed;
      this.#isOutdated = false;
      if (!this.#feed) this.#watch();
      let outcome;
      try {
        outcome = await this.#follow(feed);
      } catch {
        outcome = {}; // No connection, or none any more.
      }
      if (feed === this.#feed) this.#lose(outcome);
      else if (feed === this.#attempt) this.#fail(feed, outcome);
    }

    /** Open the stream and hand out what comes, to its end; returns how it ended. */
    async #follow(feed) {
      const wanted = this.#wanted();
      const trouble = await this.#authorize(feed, wanted.filter(isSigned));
      if (feed !== this.#attempt || (trouble && this.#feed)) return { ...trouble };
      for (const name of wanted) {
        if (!isSigned(name)) feed.query.append("channel", name);
      }
      feed.names = feed.query.getAll("channel");
      if (!feed.names.length) return { isIdle: !trouble, ...trouble };
      if (!feed.query.has("auth")) feed.query.set("key", this.#options.key);
      this.#goOn(feed);
      const response = await plainFetch(`${this.#options.address}?${feed.query}`, {
        headers: { Accept: "text/event-stream" },
        // As a WebSocket does.
        credentials: "include",
        cache: "no-store",
        signal: feed.abort.signal,
      });
      if (response.status !== 200 || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        const isSentence = response.headers.get("Content-Type")?.startsWith("text/plain");
        return { status: response.status, reason: isSentence ? (await response.text()).trim() : "" };
      }
      if (trouble) this.#isOutdated = true;
      return this.#hear(feed, response.body);
    }

    /** Have the site sign what takes a signature; returns what is wrong if it cannot say now. */
    async #authorize(feed, names) {
      if (!names.length && !this.#isSigningIn) return null;
      const answer = await this.#options.authorize(names, this.#isSigningIn);
      if (answer.isPassing) return answer;
      for (const name of answer.refused) this.#refused.add(name);
      feed.query = new URLSearchParams(answer.query ?? "");
      this.user.user_data = answer.user ? { id: answer.user } : null;
      return null;
    }

    /** Let the next stream begin where this one has come to. */
    #goOn(feed) {
      if (!this.#cursor) return;
      feed.query.set("lastEventId", this.#cursor);
      for (const name of feed.names) {
        if (!this.#heard.has(name)) feed.query.append("new", name);
      }
      this.#since = feed.seen;
    }

    async #hear(feed, body) {
      let retry;
      let watchdog;
      const isAlive = () => {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => feed.abort.abort(), SILENCE);
      };
      isAlive();
      try {
        for await (const block of read(body, isAlive)) {
          if (block.retry) retry = Number(block.retry);
          const isFirst = block.event === "pusher:connection_established";
          if (isFirst && feed === this.#attempt) this.#establish(feed, JSON.parse(block.data));
          if (feed !== this.#feed) continue;
          if (block.id) this.#cursor = block.id;
          if ("data" in block) this.#receive(feed, block);
        }
      } finally {
        clearTimeout(watchdog);
      }
      return { retry };
    }

    /** From here on this stream is the one; the last one has been read until now, and what came twice is known. */
    #establish(feed, { socket_id: socketId }) {
      const last = this.#feed;
      [this.#feed, this.#attempt, this.#since] = [feed, null, null];
      last?.abort.abort();
      this.#failures = 0;
      this.#heard = new Set(feed.names);
      for (const [name, channel] of this.#channels) channel.subscribed &&= this.#heard.has(name);
      this.connection.socket_id = socketId;
      this.#setState("connected");
      if (this.#isOutdated) this.#schedule(GATHERING);
    }

    #receive(feed, { event = "message", data, id = "" }) {
      const name = channelOf(id);
      const value = data ? JSON.parse(data) : undefined;
      if (event.startsWith("pusher:")) {
        this.#obey(feed, event, value, name);
      } else if (name === null) {
        if (event === "resync") this.#options.resync(value.channels);
      } else if (!feed.seen.has(id)) {
        this.#since?.add(id);
        if (name.startsWith("#")) this.user.emit(event, value);
        else this.#channels.get(name)?.emit(event, value);
      }
    }

    #obey(feed, event, value, name) {
      if (event === "pusher:error") {
        this.connection.emit("error", { data: value });
        // Who comes back after these is let in no more.
        if (value.code >= 4000 && value.code < 4100) this.disconnect();
      } else if (name !== null) {
        const member = JSON.parse(feed.query.get("channel_data"));
        this.#channels.get(name)?.take(event, value, member?.user_id);
      }
    }

    // Its end

    #lose({ retry = FIRST_PAUSE }) {
      this.#feed = null;
      this.#refused.clear();
      this.#give("connecting");
      this.#schedule(retry);
    }

    #fail(feed, { isIdle, status, reason, after = 0 }) {
      this.#attempt = this.#since = null;
      if (isIdle) {
        this.#give(this.#channels.size ? "disconnected" : "initialized");
        if (this.#isOutdated) this.#schedule(GATHERING);
        return;
      }
      if (status) this.#complain(`${this.#options.address} has answered ${status}. ${reason}`.trim());
      // Signed a moment ago, and refused again: a full channel, which keeps the whole stream out.
      if (status === 403 && this.#failures) this.#refuse(feed.names, reason);
      this.#schedule(Math.max(jittered(FIRST_PAUSE * 2 ** this.#failures), (Number(after) || 0) * 1000));
      this.#failures += 1;
    }

    #refuse(names, error) {
      for (const name of names.filter((each) => each.startsWith("presence-"))) {
        this.#refused.add(name);
        this.#channels.get(name)?.emit("pusher:subscription_error", { error });
      }
    }

    /** Let go of whatever there is. */
    #give(state) {
      clearTimeout(this.#timer);
      const [feed, attempt] = [this.#feed, this.#attempt];
      this.#feed = this.#attempt = this.#since = null;
      feed?.abort.abort();
      attempt?.abort.abort();
      this.connection.socket_id = null;
      for (const channel of this.#channels.values()) channel.subscribed = false;
      this.#setState(state);
    }

    /** Call it unavailable as soon as it has not been there for a while. */
    #watch() {
      if (this.#unavailable || this.connection.state === "unavailable") return;
      this.#setState("connecting");
      this.#unavailable = setTimeout(() => {
        this.#unavailable = null;
        if (this.connection.state === "connecting") this.#setState("unavailable");
      }, UNAVAILABLE_AFTER);
    }

    #setState(current) {
      const previous = this.connection.state;
      if (previous === current) return;
      if (current !== "connecting") {
        clearTimeout(this.#unavailable);
        this.#unavailable = null;
      }
      this.connection.state = current;
      this.connection.emit("state_change", { previous, current });
    }

    #complain(text) {
      if (this.#complaints.has(text)) return;
      this.#complaints.add(text);
      console.error(`pusherable: ${text}`);
    }
  }

  window.PusherableStreams = Streams;
})();
