// What makes the pages smoother. Without it everything works.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);

  // Times count on, and say the local time too.
  const rounded = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} days`;
  };
  const tick = () => {
    const now = Date.now();
    for (const time of all("time[datetime]")) {
      const at = Date.parse(time.dateTime);
      if (!time.dataset.utc) {
        time.dataset.utc = time.classList.contains("exact") ? time.textContent : time.title;
        time.title = `${new Date(at).toLocaleString()} here · ${time.dataset.utc}`;
      }
      if (time.classList.contains("exact")) continue;
      const seconds = Math.floor(Math.abs(at - now) / 1000);
      const text = at > now ? (seconds < 1 ? "now" : `in ${rounded(seconds)}`)
        : seconds < 1 ? "just now" : `${rounded(seconds)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  // What is refused changes nothing on the page, which says that it is no longer live.
  const stale = (why) => {
    const notice = one("#stale");
    if (!notice || notice.textContent === (why ?? "")) return;
    notice.hidden = !why;
    notice.textContent = why ?? "";
  };
  const selected = (part) => getSelection().type === "Range" && part.contains(getSelection().anchorNode);

  // While somebody looks, the server says what happens, and the page asks for what it shows of it.
  const live = one("#live");
  const feed = { source: null, isLive: false, isPaused: false, lost: null, tries: 0, last: null, next: 0 };
  const happened = {};
  const rows = new Set();
  const since = () => new Date(feed.lost).toLocaleTimeString();
  const show = () => {
    if (!live || !one("[data-live], [data-mark]")) return;
    live.hidden = false;
    live.textContent = feed.isPaused ? "paused ❚❚" : feed.isLive ? "live ●" : feed.source ? "connecting ○" : "not live ○";
    live.setAttribute("aria-pressed", String(feed.isPaused));
  };
  const close = () => {
    feed.source?.close();
    feed.source = null;
    feed.isLive = false;
    show();
  };
  const lose = () => {
    feed.isLive = false;
    feed.lost ??= Date.now();
    show();
  };
  const open = () => {
    if (feed.source || feed.isPaused || document.hidden || feed.tries > 2 || Date.now() < feed.next) return;
    if (!one("[data-live], [data-mark]")) return;
    const asked = new URLSearchParams();
    const after = feed.last ?? one("[data-after]")?.dataset.after;
    if (after) asked.set("after", after);
    const watched = all("[data-mark]").map((row) => row.dataset.row);
    const shown = all("[data-live^=dlv_]").map((part) => part.dataset.live);
    asked.set("watch", [...watched, ...shown].slice(0, 200).join(","));
    const source = feed.source = new EventSource(`/console/stream?${asked}`);
    const on = (name, then) => source.addEventListener(name, (event) => {
      if (event.lastEventId) feed.last = event.lastEventId;
      then(event);
    });
    on("live", () => {
      feed.isLive = true;
      // Whatever came while nobody listened.
      happened.new = happened.any = Date.now();
      feed.lost = null;
      feed.tries = 0;
      stale();
      show();
    });
    on("stopped", lose);
    on("end", () => { close(); feed.tries = 3; stale("You are signed out: this page is not updated any more. Reload it."); });
    on("event", () => { happened.new = happened.any = Date.now(); });
    on("subscription", () => { happened.any = Date.now(); });
    on("delivery", (event) => {
      const { id, mark, new: isNew } = JSON.parse(event.data);
      happened[id] = happened.any = Date.now();
      if (isNew) happened.new = Date.now();
      const row = one(`[data-row="${CSS.escape(id)}"][data-mark]`);
      if (row && row.dataset.mark !== mark) rows.add(id);
    });
    show();
    source.addEventListener("error", () => {
      lose();
      feed.tries += 1;
      // Refused, or tried in vain: what follows is asked for every few seconds, as without a stream.
      if (source.readyState === EventSource.CLOSED || feed.tries > 2) {
        close();
        feed.next = Date.now() + 5000;
      }
    });
  };
  const pause = () => {
    feed.isPaused = !feed.isPaused;
    feed.lost = null;
    feed.tries = 0;
    stale();
    close();
    open();
  };
  live?.addEventListener("click", pause);
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  addEventListener("pagehide", close);
  const follow = () => {
    open();
    if (!feed.lost || Date.now() - feed.lost < 3000 || document.hidden) return;
    if (feed.tries < 3) stale(`Live updates stopped at ${since()}: connecting again.`);
    else stale(`Live updates stopped at ${since()}: reload the page to have them again.`);
  };

  // Rows change where they are, but not under somebody's hands.
  let isReplacing = false;
  const replace = async () => {
    if (!rows.size || feed.isPaused || isReplacing) return;
    const table = one("[data-mark]")?.closest("tbody");
    if (!table || selected(table)) return;
    const ids = [...rows].slice(0, 50);
    for (const id of ids) rows.delete(id);
    let text;
    isReplacing = true;
    try {
      const answer = await fetch(`/console/deliveries/rows?ids=${ids.join(",")}`, { headers: { "hx-request": "true" } });
      if (answer.ok) text = await answer.text();
    } catch { /* Asked again. */ }
    isReplacing = false;
    if (text === undefined) {
      for (const id of ids) rows.add(id);
      return;
    }
    const made = document.createElement("template");
    made.innerHTML = text;
    for (const fresh of all("[data-mark]", made.content)) {
      const old = one(`[data-row="${CSS.escape(fresh.dataset.row)}"]`);
      if (!old) continue;
      const hadFocus = old.contains(document.activeElement);
      fresh.classList.add("flash");
      if (old.classList.contains("here")) fresh.classList.add("here");
      old.replaceWith(fresh);
      if (hadFocus) fresh.querySelector("a").focus();
    }
    tick();
  };

  // What changes by itself is asked for again, while somebody looks and is not busy with it: when
  // something has happened, or every few seconds where the server does not say so.
  const asked = new Map();
  const began = Date.now();
  const refresh = () => {
    if (document.hidden || feed.isPaused || !window.htmx) return;
    for (const part of all("[data-refresh]")) {
      const what = part.getAttribute("hx-get");
      const before = asked.get(what) ?? began;
      const busy = part.querySelector("details.confirm[open]:not([data-open])") || part.contains(document.activeElement) || selected(part);
      const topic = part.dataset.live;
      const waits = feed.isLive && topic;
      const after = waits ? (topic === "any" ? 10 : topic === "new" ? 5 : 1) : part.dataset.refresh;
      if (busy || Date.now() - before < 1000 * after || (waits && !(happened[topic] >= before))) continue;
      asked.set(what, Date.now());
      htmx.trigger(part, "refresh");
    }
  };
  setInterval(() => { tick(); follow(); refresh(); replace(); buttons(); }, 1000);

  document.addEventListener("htmx:after:request", (event) => {
    const { status } = event.detail.ctx.response;
    if (status < 400) { if (!feed.lost) stale(); }
    else stale(status === 401 ? "You are signed out: this page is not updated any more. Reload it."
      : `This page is not updated at the moment: the server answered ${status}.`);
  });
  document.addEventListener("htmx:error", () => stale("This page is not updated at the moment: the server does not answer."));

  const copy = async (text, from) => {
    try { await navigator.clipboard.writeText(text); } catch { return; }
    if (!from) return;
    const before = from.textContent;
    from.textContent = "Copied";
    setTimeout(() => { from.textContent = before; }, 1500);
  };
  const buttons = () => {
    if (navigator.clipboard) for (const button of all("button.copy[hidden]")) button.hidden = false;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(one(button.dataset.copy)?.textContent ?? "", button);
    for (const menu of all("details.who[open]")) if (!menu.contains(event.target)) menu.open = false;
  });

  // A second press of a button sends nothing more; a filter that is chosen applies at once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
  addEventListener("pageshow", (event) => {
    for (const form of all("form[data-sent]")) delete form.dataset.sent;
    // A page that comes back from the browser's memory is a new one: its forms are sent again on purpose.
    if (event.persisted) for (const field of all("input[name=once]")) field.value = `${Date.now()}-${Math.random()}`;
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches(".filters select")) event.target.form.requestSubmit();
  });

  // Keys, unless somebody types or has switched them off.
  let row = -1;
  let going = 0;
  const off = () => { try { return localStorage.getItem("walhook-keys") === "off"; } catch { return false; } };
  const move = (by) => {
    const rows = all("[data-row]");
    if (!rows.length) return;
    rows[row]?.classList.remove("here");
    row = Math.min(Math.max(row + by, 0), rows.length - 1);
    rows[row].classList.add("here");
    rows[row].querySelector("a").focus();
  };
  const keys = {
    "/": () => one("#q")?.focus(),
    "?": () => one("#keys")?.showModal(),
    j: () => move(1),
    k: () => move(-1),
    "[": () => one("[data-newer]")?.click(),
    "]": () => one("[data-older]")?.click(),
    c: () => { const id = one("[data-id]"); if (id) copy(id.textContent, id); },
    r: () => {
      const retry = one("details[data-key=r]");
      if (retry) { retry.open = true; retry.querySelector("button").focus(); }
    },
    p: pause,
    n: () => one("[data-new]")?.click(),
    g: () => { going = Date.now(); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.target.closest("input, textarea, select, dialog[open]")) {
      if (event.key === "Escape" && event.target.id === "q") event.target.blur();
      return;
    }
    if (event.key !== "?" && off()) return;
    if (Date.now() - going < 1500) {
      going = 0;
      const link = one(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const act = Object.hasOwn(keys, event.key) && keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  one("#keys")?.addEventListener("close", (event) => {
    try {
      if (event.target.returnValue === "off") localStorage.setItem("walhook-keys", "off");
      else localStorage.removeItem("walhook-keys");
    } catch { /* Without storage they stay on. */ }
  });

  tick();
  buttons();
  open();
  one("#fault")?.focus();
})();
