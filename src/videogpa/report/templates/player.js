"use strict";
// Players: one video holds the panels side by side, and each canvas shows its panel of the frame that the video shows, so that
// all are in step. A video is loaded when its player comes near the window, and let go when it is far away.
{
  const players = new Map(); // of the elements near the window or away from it, to what loads and frees them

  function setUp(root) {
    const canvases = [...root.querySelectorAll("canvas")];
    const [play, range, at, speed] = ["play", "range", "at", "speed"].map((part) => root.querySelector(`[data-part=${part}]`));
    const speeds = [...speed.options].map((option) => option.value);
    const [frames, rate] = [Number(root.dataset.frames), Number(root.dataset.rate)];
    const video = document.createElement("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true, preload: "auto" });
    let frame = 0; // that is shown, or will be
    let playing = false;

    function draw() {
      for (const canvas of canvases) {
        const { width, height } = canvas;
        canvas.getContext("2d").drawImage(video, Number(canvas.dataset.left), 0, width, height, 0, 0, width, height);
      }
      root.dataset.drawn = frame;
    }

    function tell() {
      range.value = frame;
      range.setAttribute("aria-valuetext", `frame ${frame + 1} of ${frames}`);
      at.textContent = `${frame + 1} / ${frames}`;
    }

    function seek() {
      if (video.readyState > 0 && !video.seeking) video.currentTime = (frame + 0.5) / rate; // the middle of the frame
    }

    function arrived() {
      if (playing) return;
      if (Math.floor(video.currentTime * rate) === frame) draw();
      else seek(); // it was moved on while the video was seeking
    }

    function go(to) {
      pause();
      frame = Math.min(Math.max(to, 0), frames - 1);
      tell();
      load();
      seek();
    }

    function follow(now, shown) {
      if (!playing) return;
      frame = Math.min(Math.round((shown ? shown.mediaTime : video.currentTime - 0.5 / rate) * rate), frames - 1);
      draw();
      tell();
      next();
    }

    function next() {
      if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(follow);
      else requestAnimationFrame(() => follow());
    }

    async function start() {
      load();
      playing = true;
      play.textContent = "Pause";
      video.playbackRate = Number(speed.value);
      next();
      try {
        await video.play();
      } catch {
        if (video.paused) pause(); // the browser does not let it play
      }
    }

    function pause() {
      playing = false;
      play.textContent = "Play";
      video.pause();
    }

    function change(by) {
      const place = speeds.indexOf(speed.value) + by;
      if (place in speeds) speed.value = speeds[place];
      video.playbackRate = Number(speed.value);
    }

    function load() {
      if (!video.src) video.src = root.dataset.video;
    }

    function free() {
      if (!video.src) return;
      pause();
      video.removeAttribute("src");
      video.load();
    }

    const keys = {
      " ": () => (playing ? pause() : start()),
      ArrowLeft: () => go(frame - 1),
      ArrowRight: () => go(frame + 1),
      Home: () => go(0),
      End: () => go(frames - 1),
      "<": () => change(-1),
      ">": () => change(1),
    };
    root.addEventListener("keydown", (event) => {
      const own = { BUTTON: " ", SELECT: event.key }[event.target.tagName]; // what the element does itself with the key
      if (!(event.key in keys) || event.key === own || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    play.addEventListener("click", keys[" "]);
    for (const canvas of canvases) canvas.addEventListener("click", keys[" "]);
    root.querySelector("[data-part=back]").addEventListener("click", keys.ArrowLeft);
    root.querySelector("[data-part=on]").addEventListener("click", keys.ArrowRight);
    range.addEventListener("input", () => go(Number(range.value)));
    speed.addEventListener("change", () => change(0));
    video.addEventListener("loadeddata", seek);
    video.addEventListener("error", () => {
      if (video.src) at.textContent = "the video is not there, or this browser cannot play it";
    });
    video.addEventListener("seeked", arrived);
    tell();
    players.set(root, { load, free });
  }

  const waiting = new Map(); // players that are loaded if they stay near: not those that are only scrolled past
  const watch = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        clearTimeout(waiting.get(target));
        if (isIntersecting) waiting.set(target, setTimeout(players.get(target).load, 200));
        else players.get(target).free();
      }
    },
    { rootMargin: "800px" },
  );
  function begin(root) {
    setUp(root);
    watch.observe(root);
  }

  for (const root of document.querySelectorAll(".player")) begin(root);
  addEventListener("player:added", (event) => begin(event.target)); // by another script
  addEventListener("player:removed", (event) => {
    watch.unobserve(event.target);
    clearTimeout(waiting.get(event.target));
    players.get(event.target)?.free();
    players.delete(event.target);
  });

  // A link to a clip leads to its player, so that the keys play it at once; also a link that was followed before.
  addEventListener("hashchange", () => {
    const card = document.getElementById(location.hash.slice(1));
    card?.querySelector(".player")?.focus({ preventScroll: true });
  });
  addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) dispatchEvent(new Event("hashchange"));
  });
}
