// What the newsroom's pages do when they hear of something. pusherable brings the events: each one bubbles
// up from its <pusherable-subscribe> to the nearest [data-role], which says what the page makes of it.
// Whatever an event holds becomes text, never markup.

const MARK_MINUTES = 5; // Nobody says when a form is closed without saving: the mark fades by itself.
const HAPPENINGS_KEPT = 6;

const username = document.body.dataset.username;
const tagNames = JSON.parse(document.getElementById("tag-names")?.textContent ?? "{}");
const timers = new WeakMap();

// Words

function isMe(user) {
  return user !== "" && user === username;
}

function nameOf(user) {
  return user ? user[0].toUpperCase() + user.slice(1) : "Someone";
}

function sentence(user, ofOthers, ofMe) {
  return isMe(user) ? `In another window, you ${ofMe}` : `${nameOf(user)} ${ofOthers}`;
}

// Parts of a page

function part(place, name) {
  return place.querySelector(`[data-part="${name}"]`);
}

function setText(element, text) {
  if (!element || text === undefined || element.textContent === text) return;
  element.textContent = text;
  flash(element);
}

function setParagraphs(element, texts) {
  if (texts.join() === [...element.children].map((paragraph) => paragraph.textContent).join()) return;
  element.replaceChildren(
    ...texts.map((text) => Object.assign(document.createElement("p"), { textContent: text })),
  );
  flash(element);
}

function flash(element) {
  if (!element.isConnected) return;
  element.classList.remove("changed");
  void element.offsetWidth; // Lets the animation start anew.
  element.classList.add("changed");
}

function announce(text) {
  document.getElementById("announcements").textContent = text;
}

function paragraphsOf(body) {
  return body
    .replaceAll(/\r\n?/g, "\n")
    .split("\n\n")
    .map((text) => text.trim())
    .filter(Boolean);
}

function tagsOf(post) {
  const names = (post.tags ?? []).map((pk) => tagNames[pk]).filter(Boolean);
  return names.sort((one, other) => one.localeCompare(other)).join(" · ");
}

function showPost(place, post) {
  setText(part(place, "title"), post.title);
  if (post.is_draft === false) part(place, "draft")?.remove();
  if (post.tags) setText(part(place, "tags"), tagsOf(post));
  if (post.colour) part(place, "cover").className = `cover cover-${post.colour}`;
}

function addLine(list, text) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  line.append(Object.assign(document.createElement("span"), { textContent: text }), " ", time);
  // Who does the same again moves to the top instead of filling the list.
  for (const other of [...list.children]) {
    if (other.firstElementChild.textContent === text) other.remove();
  }
  list.prepend(line);
  while (list.children.length > HAPPENINGS_KEPT) list.lastElementChild.remove();
  return list;
}

function isInView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < window.innerHeight;
}

// Lists

function addStory(board, { object, user, pk }, channel) {
  const stories = part(board, "stories");
  if (stories.querySelector(`[data-post="${CSS.escape(pk)}"]`)) return;
  const story = part(board, "new-story").content.firstElementChild.cloneNode(true);
  story.dataset.post = pk;
  const link = part(story, "title");
  link.setAttribute("href", `${link.getAttribute("href")}${encodeURIComponent(pk)}/`);
  part(story, "author").textContent = nameOf(user);
  part(story, "excerpt").textContent = paragraphsOf(object.body ?? "")[0] ?? "";
  showPost(story, object);
  story.prepend(...["update", "updated", "deleted"].map((event) => subscription(event, `${channel}_${pk}`)));
  stories.prepend(story);
  flash(story);
  announce(`${nameOf(user)} has published “${object.title}”.`);
}

function subscription(event, channel) {
  const element = document.createElement("pusherable-subscribe");
  element.setAttribute("event", event);
  element.setAttribute("channel", channel);
  element.hidden = true;
  return element;
}

function markStory(story, { user }) {
  const mark = part(story, "mark");
  mark.textContent = isMe(user) ? "You are editing this" : `${nameOf(user)} is editing this`;
  mark.hidden = false;
  clearTimeout(timers.get(story));
  timers.set(story, setTimeout(unmarkStory, MARK_MINUTES * 60_000, story));
  announce(`${mark.textContent}: “${part(story, "title").textContent}”.`);
}

function unmarkStory(story) {
  part(story, "mark").hidden = true;
}

function rewriteStory(story, { object, user }) {
  unmarkStory(story);
  showPost(story, object);
  if (object.body !== undefined) setText(part(story, "excerpt"), paragraphsOf(object.body)[0] ?? "");
  announce(`${nameOf(user)} has saved “${object.title}”.`);
}

function removeStory(story, { user }) {
  const section = story.closest("section");
  announce(`${nameOf(user)} has deleted “${part(story, "title").textContent}”.`);
  story.classList.add("leaving");
  const remove = () => {
    const hadFocus = story.contains(document.activeElement);
    story.remove();
    if (hadFocus) section.querySelector("[tabindex]").focus();
  };
  Promise.allSettled(story.getAnimations().map((animation) => animation.finished)).then(remove);
}

// One post

function tell(ofOthers, ofMe) {
  return (article, { user }) =>
    addLine(part(article, "happenings"), `${sentence(user, ofOthers, ofMe)}.`);
}

function rewriteArticle(article, data) {
  const { object } = data;
  showPost(article, object);
  if (object.body !== undefined) setParagraphs(part(article, "body"), paragraphsOf(object.body));
  if (object.title !== undefined) document.title = `${object.title} · The Open Page`;
  return tell("has saved a new version: here it is", "have saved a new version: here it is")(article, data);
}

function closeArticle(article, data) {
  const gone = part(article, "gone");
  gone.hidden = false;
  gone.textContent = `${sentence(data.user, "has deleted this post", "have deleted this post")}. What you see is the last that is left of it.`;
  article.classList.add("is-gone");
  for (const link of part(article, "actions").querySelectorAll(".button")) link.closest("li").remove();
  document.title = `Deleted: ${document.title}`;
  tell("has deleted this post", "have deleted this post")(article, data);
  return gone;
}

// Forms

function warn(ofOthers, ofMe) {
  return (desk, { user }) =>
    addLine(part(desk, "warnings"), `${sentence(user, ofOthers, ofMe)}.`);
}

function outdate(desk, { user }) {
  const outdated = part(desk, "outdated");
  outdated.hidden = false;
  part(desk, "outdated-text").textContent =
    `${sentence(user, "has saved a newer version of this post", "have saved a newer version of this post")}.`;
  return outdated;
}

function closeDesk(desk, data) {
  part(desk, "outdated").hidden = true;
  for (const button of desk.querySelectorAll("button")) button.disabled = true;
  desk.classList.add("is-gone");
  return warn("has deleted this post: nothing can be saved", "have deleted this post: nothing can be saved")(desk, data);
}

// The bell

async function ring(form) {
  const button = part(form, "button");
  const outcome = part(form, "outcome");
  if (button.ariaDisabled === "true") return;
  // A button that is really disabled would drop the keyboard's focus.
  button.ariaDisabled = "true";
  outcome.classList.remove("is-failure");
  outcome.textContent = "Ringing…";
  try {
    const response = await fetch(form.action, {
      method: "POST",
      headers: {
        Accept: "application/json",
        "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
      },
      body: new URLSearchParams({ call: form.elements.call.value }),
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    outcome.textContent = "The bell is ringing on every open page.";
  } catch (error) {
    outcome.classList.add("is-failure");
    outcome.textContent = `The bell did not ring: ${error.message}.`;
  } finally {
    button.ariaDisabled = "false";
  }
}

document.addEventListener("submit", (event) => {
  if (event.target.dataset.role !== "bell") return;
  event.preventDefault();
  ring(event.target);
});

// Who reacts to what: each reaction returns the part of a long page where it shows, if that may be out of sight.

const REACTIONS = {
  board: { created: addStory },
  story: { update: markStory, updated: rewriteStory, deleted: removeStory },
  article: {
    view: tell("is reading this too", "have opened this too"),
    update: tell("has begun to edit", "have begun to edit"),
    updated: rewriteArticle,
    delete: tell("is about to delete this", "are about to delete this"),
    deleted: closeArticle,
  },
  desk: {
    update: warn("has opened the same form", "have opened the same form"),
    updated: outdate,
    delete: warn("is about to delete this post", "are about to delete this post"),
    deleted: closeDesk,
  },
};

for (const name of new Set(Object.values(REACTIONS).flatMap(Object.keys))) {
  document.addEventListener(`pusherable:${name}`, (event) => {
    const place = event.target.closest("[data-role]");
    const react = REACTIONS[place?.dataset.role]?.[name];
    if (!react) return;
    const shownIn = react(place, event.detail.data, event.detail.channel);
    // What the page shows by itself needs no notification beside it, unless that part is scrolled away.
    if (!shownIn || isInView(shownIn)) event.preventDefault();
  });
}

// The message itself is shown by {% pusherable_notifications %}.
document.addEventListener("pusherable:bell", () => flash(document.getElementById("menu-bell")));
