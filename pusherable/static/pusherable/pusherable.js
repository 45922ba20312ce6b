// One connection for the whole page, shared by every <pusherable-subscribe> element and by scripts.
(() => {
  "use strict";

  // Turbo and htmx may run the file again: what is there stays.
  if (window.pusherable) return;

  const config = JSON.parse(document.currentScript?.dataset.config ?? "null");
  const channels = new Map(); // name -> { channel, listeners }
  const origins = recallOrigins();
  const ORIGINS_KEPT = 200;
  let pusher;
  let state = "initialized";

  // The connection

  function pusherOptions() {
    // Without this pusher-js falls back to hosted Pusher and shows it the key.
    const options = { ...config, enabledTransports: ["ws"] };
    if (!("wsHost" in options)) return options;
    const secure = location.protocol === "https:";
    const port = Number(location.port) || (secure ? 443 : 80);
    options.wsHost ??= location.hostname;
    options.wsPort ??= port;
    options.wssPort ??= port;
    options.forceTLS ??= secure;
    return options;
  }

  function connect() {
    if (pusher !== undefined) return pusher;
    if (!config) return fail("the service is not configured; the log of the web server says why.");
    if (!window.Pusher) return fail("pusher-js did not load, so this page hears of nothing.");
    pusher = new window.Pusher(config.key, pusherOptions());
    pusher.connection.bind("state_change", ({ current }) => setState(current));
    // A connection that was lost calls itself "connected" until the next attempt.
    pusher.connection.bind("connecting_in", () => setState("connecting"));
    setState(pusher.connection.state);
    return pusher;
  }

  function fail(reason) {
    pusher = null;
    setState("failed");
    console.error(`pusherable: ${reason}`);
    return pusher;
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
    return () => {
      entry.listeners.delete(listener);
      // Later, so that an element that moves, or comes back with a new body, keeps its channel.
      setTimeout(leave, 0, name);
    };
  }

  function join(name) {
    if (!connect()) return null;
    const entry = { channel: pusher.subscribe(name), listeners: new Set() };
    channels.set(name, entry);
    entry.channel.bind_global((event, data) => receive(name, event, data));
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

  function receive(name, event, data) {
    const entry = channels.get(name);
    if (!entry) return;
    if (event.startsWith("pusher:subscription_")) {
      showConfirmed(entry);
      leave(name);
    }
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

  /** One listener that fails keeps no other from its event. */
  function guard(call, detail) {
    try {
      call(detail);
    } catch (error) {
      reportError(error);
    }
  }

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
    // Left by the answer to a form, whose own page this visitor never saw.
    remember(/(?:^|; )pusherable_origin=([\w-]+)/.exec(document.cookie)?.[1]);
  }

  function isOwn(data) {
    rememberPage();
    return origins.has(data?.origin);
  }

  // Elements

  class Subscription extends HTMLElement {
    static observedAttributes = ["channel", "event", "origin"];
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

    #subscribe() {
      this.#release?.();
      this.#release = null;
      this.toggleAttribute("subscribed", false);
      remember(this.getAttribute("origin"));
      const channel = this.getAttribute("channel");
      const event = this.getAttribute("event");
      if (!this.#present || !channel || !event) return;
      this.#release = listen(channel, {
        event,
        notifies: true,
        call: (detail) => this.#tell(detail),
        confirm: (confirmed) => this.toggleAttribute("subscribed", confirmed),
      });
    }

    #tell(detail) {
      const options = { bubbles: true, cancelable: true, composed: true, detail };
      if (!this.dispatchEvent(new CustomEvent(`pusherable:${detail.event}`, options))) return;
      const label = this.getAttribute("label");
      for (const list of document.querySelectorAll("pusherable-notifications")) list.show(detail, label);
    }
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
    on(channel, event, callback) {
      return listen(channel, { event, call: ({ data }) => callback(data, { event, channel }) });
    },
    /** The Pusher object of pusher-js, made at the first need; null where it could not be made. */
    get pusher() {
      return connect();
    },
    /** What <html data-pusherable> shows too. */
    get state() {
      return state;
    },
  };
  rememberPage();
  setState(state);
  customElements.define("pusherable-subscribe", Subscription);
  customElements.define("pusherable-notifications", Notifications);
})();
