/* What the page says where its scripts cannot be loaded: a plain script, for it runs where modules do not. */
"use strict";

function showProblem(words) {
  document.getElementById("problem-words").textContent = words;
  document.getElementById("problem").hidden = false;
  document.getElementById("loading").hidden = true;
}

addEventListener("error", (event) => {
  if (!(event.target instanceof HTMLScriptElement)) return;
  const words = location.protocol === "file:"
    ? "Browsers run it only from a web server: in its folder start python -m http.server, then open http://localhost:8000."
    : "A part of it could not be loaded. Try again, or with a browser of 2023 or later.";
  if (document.readyState !== "loading") showProblem(words);
  else addEventListener("DOMContentLoaded", () => showProblem(words));
}, true);
