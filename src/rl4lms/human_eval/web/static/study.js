"use strict";
// All of this is help: without it forms are sent as they are.
(() => {
  const form = document.querySelector("#answers");
  if (!form || !form.dataset.draft) return;
  const save = form.querySelector("button.main");
  const told = form.querySelector("#draft");
  let sent = false;

  // Time counts while the page can be seen.
  const active = form.elements.active;
  let seconds = Number(active.value) || 0, since = performance.now();
  function count() {
    const now = performance.now();
    if (!document.hidden) seconds += (now - since) / 1000;
    since = now;
    active.value = seconds.toFixed(1);
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { seconds += (performance.now() - since) / 1000; active.value = seconds.toFixed(1); flush(); }
    since = performance.now();
  });

  // Drafts.
  let timer = 0, running = null;
  function flush() {
    if (!timer || sent) return;
    clearTimeout(timer);
    timer = 0;
    if (!document.hidden) count();
    if (running) running.abort();
    const mine = running = new AbortController();
    const body = new URLSearchParams(new FormData(form));
    fetch(form.dataset.draft, { method: "POST", body, keepalive: true, signal: mine.signal, redirect: "error" })
      .then((response) => { told.textContent = response.ok ? form.dataset.saved : form.dataset.failed; })
      .catch(() => { if (!mine.signal.aborted) told.textContent = form.dataset.failed; });
  }
  function changed() {
    clearTimeout(timer);
    timer = setTimeout(flush, 700);
  }
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => {
    if (sent || save.disabled) { event.preventDefault(); return; }
    count();
    sent = true;
    clearTimeout(timer);
    if (running) running.abort();
    save.disabled = true;
  });
  // a page that the browser had kept is to be sent again
  window.addEventListener("pageshow", () => { sent = false; if (!waits) save.disabled = false; since = performance.now(); });

  // Some items can be answered after a while only.
  const wait = document.querySelector("#wait");
  let waits = Boolean(wait);
  if (wait) {
    const until = performance.now() + Number(form.dataset.wait) * 1000;
    save.disabled = true;
    const clock = setInterval(() => {
      const left = Math.ceil((until - performance.now()) / 1000);
      if (left > 0) { wait.textContent = form.dataset.waitText.replace("{}", left); return; }
      clearInterval(clock);
      waits = false;
      wait.hidden = true;
      save.disabled = false;
    }, 250);
  }

  // Words with an error: those that are selected in a text go into an empty row.
  for (const button of form.querySelectorAll("button.mark")) {
    button.parentNode.hidden = false;
    button.addEventListener("mousedown", (event) => event.preventDefault()); // which would end the selection
    button.addEventListener("click", () => {
      const chosen = getSelection();
      const words = chosen.toString().trim();
      const start = chosen.anchorNode && chosen.anchorNode.parentElement;
      if (!words || !start || !start.closest(".output")) return;
      const rows = [...button.closest("fieldset").querySelectorAll(".row")];
      let row = rows.find((one) => !one.querySelector("input").value);
      if (!row) {
        row = rows[0].cloneNode(true);
        row.querySelector("input").removeAttribute("id");
        rows[rows.length - 1].after(row);
        row.querySelector("select").value = "";
      }
      row.querySelector("input").value = words;
      row.querySelector("select").focus();
      changed();
    });
  }

  // Keys.
  form.querySelector(".keys").hidden = false;
  const groups = [...form.querySelectorAll("[role=radiogroup]")];
  const open = () => groups.find((group) => !group.querySelector(":checked"));
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || at.closest("textarea, select, input[type=text]")) return;
    if (event.key === "Enter") {
      if (at.closest("a, button, summary, input")) return; // which know what to do
      event.preventDefault();
      if (!save.disabled) form.requestSubmit();
      return;
    }
    if (event.key.length !== 1) return;
    const group = at.closest("[role=radiogroup]") || open();
    const key = event.key.toLowerCase();
    const radio = group && [...group.querySelectorAll("input")].find((one) => one.dataset.keys.split(" ").includes(key));
    if (!radio) return;
    event.preventDefault();
    radio.checked = true;
    changed();
    const next = open();
    (next ? next.querySelector("input") : save.disabled ? radio : save).focus();
  });
})();
