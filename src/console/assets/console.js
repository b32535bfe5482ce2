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

  // What changes by itself is asked for again, while somebody looks and is not busy with it.
  const asked = new WeakMap();
  const refresh = () => {
    if (document.hidden || !window.htmx) return;
    for (const part of all("[data-refresh]")) {
      const since = asked.get(part) ?? asked.set(part, Date.now()).get(part);
      const busy = part.querySelector("details.confirm[open]") || part.contains(document.activeElement) ||
        (getSelection().type === "Range" && part.contains(getSelection().anchorNode));
      if (busy || Date.now() - since < 1000 * part.dataset.refresh) continue;
      asked.set(part, Date.now());
      htmx.trigger(part, "refresh");
    }
  };
  setInterval(() => { tick(); refresh(); buttons(); }, 1000);

  // What is refused changes nothing on the page, which says that it is no longer live.
  const stale = (why) => {
    const notice = one("#stale");
    if (!notice) return;
    notice.hidden = !why;
    notice.textContent = why ?? "";
  };
  document.addEventListener("htmx:after:request", (event) => {
    const { status } = event.detail.ctx.response;
    if (status < 400) stale();
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
  one("#fault")?.focus();
})();
