"use strict";
// Voting: one pair of clips at a time. What was answered is kept in this browser after every answer; where the page comes from
// `videogpa study serve`, it is sent there too, and sent again until it has arrived.
{
  const part = (id) => document.getElementById(id);
  const { study, questions, plans, items } = JSON.parse(part("data").textContent);
  const names = Object.keys(questions);
  const served = location.protocol.startsWith("http");
  let rater = null; // the code
  let browser = null; // drawn once: another browser does not continue these answers
  let given = {}; // of each trial by its number: { choices, seconds }
  let at = 0; // the trial that is shown
  let since = null; // since when it is in view, or null
  let sending = false;
  let unsent = false;

  const place = () => `videogpa-study ${study} ${rater}`;
  const complete = (trial) => names.every((name) => given[trial]?.choices[name]);
  const random = () => [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  function answers() {
    const trials = Object.keys(given).map(Number).filter(complete).sort((a, b) => a - b);
    return { study, rater, browser, answers: trials.map((trial) => ({ trial, ...given[trial] })) };
  }

  function keep() {
    try {
      localStorage.setItem(place(), JSON.stringify({ browser, given }));
      return true;
    } catch {
      return false; // a private window, or no room
    }
  }

  function recall() {
    try {
      ({ browser, given } = JSON.parse(localStorage.getItem(place())) ?? { browser: random(), given: {} });
    } catch {
      [browser, given] = [random(), {}];
    }
  }

  async function send() {
    unsent = true;
    if (!served || sending) return;
    sending = true;
    let wait = 0;
    try {
      const count = answers().answers.length;
      unsent = false;
      const reply = await fetch("answers", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(answers()), signal: AbortSignal.timeout(20000) });
      if (reply.ok) say(`${count} ${count === 1 ? "answer has" : "answers have"} arrived`);
      else if (reply.status < 500) say(`not taken: ${await reply.text()}`);
      else throw new Error(reply.statusText);
    } catch {
      say("kept here; the server cannot be reached at the moment");
      [unsent, wait] = [true, 3000];
    }
    sending = false;
    if (unsent) setTimeout(send, wait);
  }

  function say(text) {
    part("state").textContent = part("arrived").textContent = text;
    document.body.dataset.said = text;
  }

  // The time that a pair is in view: from its first picture on, while this page is.
  function stopClock() {
    if (since === null) return;
    given[at].seconds += (performance.now() - since) / 1000;
    since = null;
  }

  function startClock() {
    if (since === null && !document.hidden && !part("trial").hidden && part("stage").firstElementChild?.dataset.drawn) since = performance.now();
  }

  function show(section) {
    for (const id of ["start", "trial", "end"]) part(id).hidden = id !== section;
    document.body.dataset.section = section;
  }

  function clear() {
    const old = part("stage").firstElementChild;
    if (!old) return;
    stopClock();
    old.dispatchEvent(new Event("player:removed", { bubbles: true }));
    old.remove();
  }

  function open(trial) {
    clear();
    at = trial;
    given[at] ??= { choices: {}, seconds: 0 };
    const [name, left] = plans[rater][at];
    const item = items[name];
    const root = part("player").content.firstElementChild.cloneNode(true);
    Object.assign(root.dataset, { video: item.video, frames: item.frames, rate: item.rate });
    root.querySelectorAll("canvas").forEach((canvas, side) => {
      const panel = item.panels[side === 0 ? left : 1 - left];
      Object.assign(canvas, { width: panel.width, height: panel.height });
      canvas.dataset.left = panel.left;
    });
    root.querySelector("[data-part=range]").max = item.frames - 1;
    part("text").textContent = item.text;
    part("text").hidden = !item.text;
    show("trial");
    new MutationObserver(startClock).observe(root, { attributeFilter: ["data-drawn"] });
    part("stage").append(root);
    root.dispatchEvent(new Event("player:added", { bubbles: true }));
    root.querySelector("[data-part=play]").click();
    root.focus({ preventScroll: true });
    tell();
  }

  function tell() {
    const { choices } = given[at];
    const asked = names.find((name) => !choices[name]);
    for (const question of document.querySelectorAll(".question")) {
      question.classList.toggle("asked-now", question.dataset.question === asked);
      for (const button of question.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", choices[question.dataset.question] === button.dataset.choice);
      }
    }
    const total = plans[rater].length;
    Object.assign(part("bar"), { max: total, value: answers().answers.length });
    part("count").textContent = `${at + 1} of ${total}`;
    part("next").disabled = asked !== undefined;
    part("next").textContent = at + 1 === total ? "Finish" : "Next";
    part("previous").disabled = at === 0;
    document.body.dataset.trial = at;
  }

  function choose(name, choice) {
    stopClock();
    startClock();
    given[at].choices[name] = choice;
    if (!keep()) say("this browser keeps nothing: save the answers at the end, and do not close the page before");
    tell();
  }

  function go(to) {
    stopClock();
    keep();
    if (to < plans[rater].length) open(to);
    else finish();
  }

  function next() {
    if (!complete(at)) return;
    go(at + 1);
    send();
  }

  function back() {
    if (at > 0) go(at - 1);
  }

  function finish() {
    clear();
    const [done, total] = [answers().answers.length, plans[rater].length];
    part("done").textContent =
      done < total
        ? `${done} of ${total} pairs are answered.`
        : `All ${total} pairs are answered.${served ? "" : " Save the answers, and send the file to whoever asked you."}`;
    show("end");
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(answers(), null, 1)], { type: "application/json" }));
    link.download = `answers-${study}-${rater}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  function enter(code) {
    if (!Object.hasOwn(plans, code)) {
      part("wrong").textContent = `There is no code "${code}" in this study. Codes are six small letters and digits.`;
      part("wrong").hidden = false;
      return;
    }
    rater = code;
    recall();
    const first = plans[rater].findIndex((_, trial) => !complete(trial));
    if (first < 0) finish();
    else open(first);
    send();
  }

  part("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    enter(part("code").value.trim().toLowerCase());
  });
  for (const question of document.querySelectorAll(".question")) {
    for (const button of question.querySelectorAll("button")) {
      button.addEventListener("click", () => choose(question.dataset.question, button.dataset.choice));
    }
  }
  part("next").addEventListener("click", next);
  part("previous").addEventListener("click", back);
  part("again").addEventListener("click", () => open(plans[rater].length - 1));
  part("save").addEventListener("click", save);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && !part("trial").hidden) {
      stopClock();
      keep();
    } else startClock();
  });

  const picks = { 1: "left", 2: "same", 3: "right" };
  document.addEventListener("keydown", (event) => {
    if (part("trial").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const asked = names.find((name) => !given[at].choices[name]);
    if (event.key in picks && asked) choose(asked, picks[event.key]);
    else if (event.key === "Enter" && !["BUTTON", "SELECT"].includes(event.target.tagName)) next();
    else if (event.key === "Backspace") {
      const last = names.findLast((name) => given[at].choices[name]);
      if (last) choose(last, undefined);
      else back();
    } else return;
    event.preventDefault();
  });

  part("code").value = location.hash.slice(1);
  show("start");
}
