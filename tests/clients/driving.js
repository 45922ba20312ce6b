/* exported drive */
/* global module */
"use strict";

/** Does with pusher-js what a test says, and tells it by `note` of everything that happens: [source, event, data…]. */
function drive(Pusher, { key, port, site, user, watchlist, activityTimeout }, note) {
  const params = { user, watchlist };
  const pusher = new Pusher(key, {
    cluster: "local",
    wsHost: "127.0.0.1",
    wsPort: port,
    forceTLS: false,
    enabledTransports: ["ws"],
    activityTimeout,
    channelAuthorization: { endpoint: `${site}/pusher/auth`, params },
    userAuthentication: { endpoint: `${site}/pusher/user-auth`, params },
  });
  pusher.connection.bind("state_change", ({ current }) => note("state", current));
  pusher.connection.bind("error", ({ data, error }) => {
    const { code, message } = data ?? error?.data ?? {};
    note("error", code ?? null, message ?? null);
  });
  pusher.connection.bind("message", ({ event, channel }) => {
    // Neither is an event of anything that a page can bind to.
    const isOfUser = channel?.startsWith("#server-to-user-") && event === "pusher_internal:subscription_succeeded";
    if (event === "pusher:pong") note("pong", channel ?? null);
    if (isOfUser || event === "pusher:signin_success") note("user", event);
  });
  pusher.user.bind_global((event, data) => note("user", event, data));
  for (const event of ["online", "offline"]) {
    pusher.user.watchlist.bind(event, (data) => note("watchlist", event, data.user_ids));
  }

  const describe = (data) => {
    const { count, members, myID: me } = data ?? {};
    return me === undefined ? (data ?? null) : { count, members, me };
  };

  return {
    subscribe(name) {
      const channel = pusher.subscribe(name);
      channel.bind_global((event, data) => event.startsWith("client-") || note(name, event, describe(data)));
      channel.bind("client-hello", (data, { user_id = null }) => note(name, "client-hello", data, user_id));
    },
    unsubscribe: (name) => pusher.unsubscribe(name),
    trigger: (name, event, data) => pusher.channel(name).trigger(event, data),
    members: (name) => describe(pusher.channel(name).members),
    socketId: () => pusher.connection.socket_id,
    signIn: () => pusher.signin(),
    disconnect: () => pusher.disconnect(),
  };
}

if (typeof module !== "undefined") module.exports = { drive };
