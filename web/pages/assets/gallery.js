// What the gallery does beside links: a video plays while the mouse or the focus is on its
// tile, and nothing of it is loaded before; in a dialog, arrows go on and f fills the screen.
"use strict";
{
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const dialog = document.getElementById("dialog");
  let playing = null, timer = 0;

  function stop() {
    clearTimeout(timer);
    const video = playing?.querySelector("video");
    video?.removeAttribute("src");
    video?.load(); // or it would go on loading
    video?.remove();
    playing = null;
  }

  function begin(link) {
    const at = link.querySelector("[data-video]")?.dataset.video;
    if (!at) return;
    const video = document.createElement("video");
    Object.assign(video, { preload: "none", muted: true, loop: true, playsInline: true, src: at });
    video.setAttribute("aria-hidden", "true");
    link.append(video);
    video.play().catch(() => { if (playing === link) stop(); });
  }

  function choose(link) {
    if (link === playing) return;
    stop();
    if (!link || calm.matches) return;
    playing = link;
    timer = setTimeout(begin, 150, link); // a mouse on its way starts nothing
  }

  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, (event) => choose(event.target.closest?.(".still")));
  document.addEventListener("visibilitychange", stop);
  document.addEventListener("click", stop);

  document.addEventListener("keydown", (event) => {
    if (!dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const media = dialog.querySelector(".large");
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "f") media?.requestFullscreen?.();
    if (!step || document.activeElement === media) return; // a video seeks by arrows
    const links = [...document.querySelectorAll(".still")];
    links[links.findIndex((link) => link.pathname === dialog.dataset.at) + step]?.click();
  });
}
